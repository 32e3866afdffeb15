"""Challenges, redirects, upload addresses and services that lead astray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from mrpack.digest import Digest
from tests.fakes import registry_faults as faults
from tests.fakes.raw_server import send, send_for_ever
from tests.fakes.registry import Instead, Reply, error_reply
from tests.hostile.stage import (
    PUSH,
    REPOSITORY,
    WEIGHTS,
    Arm,
    Case,
    Stage,
    bend,
    challenge,
    leading,
    manifests,
    token,
    weights,
)

_DENIED, _NETWORK, _INTEGRITY = 4, 5, 6
_NEAR = {
    "link-local": "169.254.169.254/latest/meta-data",
    "0.0.0.0": "0.0.0.0:{port}/token",
    "[::]": "[::]:{port}/token",
    "IPv4 in IPv6": "[::ffff:127.0.0.1]:{port}/token",
    "a decimal address": "2130706433:{port}/token",
    "an octal address": "0177.0.0.1:{port}/token",
}
HEAD = b"HTTP/1.1 200 OK\r\n"


def _stranger_saw(least: int, most: int) -> Callable[[Stage], Iterator[str]]:
    def check(stage: Stage) -> Iterator[str]:
        if not least <= len(stage.stranger.seen()) <= most:
            yield f"{len(stage.stranger.seen())} requests to the stranger"

    return check


_nobody_else = _stranger_saw(0, 0)


def _realm(text: str, *, tls: bool = False) -> Case:
    return Case(arm=challenge(f'Bearer realm="{text}",service="x"'), code=_DENIED, tls=tls, then=_nobody_else)


def _token(body: bytes, **headers: str) -> Case:
    return Case(arm=token(Reply(200, headers, body)), code=_NETWORK, says="token")


def _redirect(location: str, code: int, *, tls: bool = False, then=_nobody_else) -> Case:
    arm = leading(location, lambda filled: weights(faults.redirect(filled)))
    return Case(arm=arm, code=code, tls=tls, then=then)


def _never_let_in(stage: Stage) -> None:
    """A token service that gives a token, and a registry that takes none."""
    stage.registry.protect(REPOSITORY, f'Bearer realm="{stage.registry.url}/token",service="x"', "never")


def _there_and_back(stage: Stage) -> None:
    """Two hosts that send everybody to each other."""
    stage.registry.fault(REPOSITORY, faults.on_blobs(faults.redirect(stage.stranger.url + "{target}")))
    stage.stranger.protect(REPOSITORY, "")
    stage.stranger.fault(REPOSITORY, faults.redirect(stage.registry.url + "{target}"))


def _few_requests(stage: Stage) -> Iterator[str]:
    count = len(stage.registry.seen()) + len(stage.stranger.seen())
    if count > 20:
        yield f"{count} requests"


def _upload(reply: Reply, method: str = "PUT", times: int | None = None) -> Arm:
    """In place of the honest answer, also of the registry's 401."""
    return lambda stage: stage.registry.fault(REPOSITORY, Instead("blobs/uploads", method, reply, times))


def _location(location: str) -> Arm:
    return leading(location, lambda filled: bend(_moved(filled), "blobs/uploads", "POST"))


def _moved(location: str) -> Callable[..., Reply]:
    return lambda _request, reply: reply.with_header(
        "Location", location.replace("{path}", reply.headers.get("Location", ""))
    )


def _push(arm: Arm, code: int, then: Callable[[Stage], Iterator[str]] | None = None, says: str = "") -> Case:
    return Case(arm=arm, code=code, commands=(PUSH,), then=then, says=says)


def _arrived(stage: Stage) -> Iterator[str]:
    content = WEIGHTS[::-1]
    if stage.registry.blobs.get((REPOSITORY, str(Digest.of(content)))) != content:
        yield "success, and the registry does not have it"


def _nothing_named(stage: Stage) -> Iterator[str]:
    if stage.registry.manifests[REPOSITORY, "v1"][1] != stage.manifest.raw:
        yield "a manifest of content that did not arrive"


def _busy(retry_after: str, code: int, times: int | None = 2, says: str = "") -> Case:
    reply = error_reply(429, "TOOMANYREQUESTS").with_header("Retry-After", retry_after)
    return Case(arm=manifests(faults.answer(reply), times=times), code=code, says=says)


def _echoing(stage: Stage) -> None:
    """A registry that repeats what it was shown, in its error."""
    bend(
        lambda request, _reply: error_reply(403, "DENIED", f"you said {request.headers['Authorization']}"),
        "manifests",
    )(stage)


def _raw(head: bytes, body: bytes = b"", *, for_ever: bool = False) -> Case:
    script = send_for_ever(body, head) if for_ever else send(head + body)
    return Case(arm=lambda stage: stage.serve_raw(script), code=_NETWORK)


def _many_scopes() -> str:
    scopes = " ".join(f"repository:a/b{number}:pull" for number in range(500))
    return f'Bearer realm="{{registry}}/token",service="x",scope="{scopes}"'


ACCESS: Final[dict[str, Case]] = {
    "h21 a realm on another port": Case(
        arm=challenge('Bearer realm="{stranger}/token",service="x"'), code=_DENIED, says="token_realms"
    ),
    "h22 a realm without TLS": _realm("{stranger}/token", tls=True),
    **{f"h23 a realm that is {name}": _realm(f"http://{place}") for name, place in _NEAR.items()},
    "h25 a realm that redirects": Case(
        arm=lambda stage: token(Reply(307, {"Location": f"{stage.stranger.url}/token"}))(stage),
        code=_NETWORK,
        then=_nobody_else,
    ),
    "h26 a token of 50 MiB": Case(
        arm=token(Reply(200, {}, b'{"token":"' + b"x" * 50 * 1024**2 + b'"}')), code=_NETWORK, says="1048576"
    ),
    "h26 a page for a token": _token(b"<html>"),
    "h26 a number for a token": _token(b'{"token":7}'),
    "h26 a token with line breaks": _token(b'{"token":"a\\r\\nHost: evil"}'),
    "h27 challenges without an end": Case(arm=_never_let_in, code=_DENIED, then=_few_requests),
    "h28 a redirect to another port": _redirect("{stranger}/blob", 3, then=_stranger_saw(1, 1)),
    "h30 a redirect from TLS to none": _redirect("{stranger}{target}", _NETWORK, tls=True),
    "h31 a redirect to itself": _redirect("{registry}{target}", _NETWORK),
    "h32 redirects without an end": Case(
        arm=bend(lambda request, _reply: Reply(307, {"Location": request.target + "x"}), "blobs"),
        code=_NETWORK,
    ),
    "h34 no Location": _redirect("", _NETWORK),
    "h34 a file as a Location": _redirect("file:///etc/passwd", _NETWORK),
    "h34 a relative Location": _redirect("../elsewhere", 3),
    "h35 an upload elsewhere": _push(_location("{stranger}/x?s=1"), _NETWORK, _nothing_named),
    "h37 201 and nothing stored": _push(_upload(Reply(201)), _NETWORK, _nothing_named),
    "h37 a session that expires": _push(
        _upload(error_reply(404, "BLOB_UPLOAD_UNKNOWN"), times=1), 0, _arrived
    ),
    "h37 sessions that always expire": _push(
        _upload(error_reply(404, "BLOB_UPLOAD_UNKNOWN")), _NETWORK, _nothing_named
    ),
    "h37 416 with another Range": _push(_upload(Reply(416, {"Range": "0-99"}), times=1), 0, _arrived),
    "h37 416 for ever": _push(_upload(Reply(416, {"Range": "0-99"})), _NETWORK, _nothing_named),
    "h37 a part accepted": _push(_upload(Reply(202, {"Range": "0-999"})), _NETWORK, _nothing_named),
    "h37 a least chunk that is huge": _push(
        bend(faults.header("OCI-Chunk-Min-Length", "9" * 18), "blobs/uploads", "POST"), 0, _arrived
    ),
    "h63 too many requests, with seconds": _busy("1", 0),
    "h63 too many requests, with a date": _busy("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    "h63 too many requests for 115 days": _busy("9999999", _NETWORK, None),
    "h63 too many requests, with garbage": _busy("soon", 0),
    # Beyond what others have been attacked with.
    "x30 two hosts that lead to each other": Case(arm=_there_and_back, code=_NETWORK, then=_few_requests),
    "x31 a stranger's name in a Location without a scheme": Case(
        arm=lambda stage: weights(faults.redirect(f"//{stage.stranger.address}/x"))(stage),
        code=3,
        then=_stranger_saw(1, 1),
    ),
    "x32 a Location with a user": _redirect("http://alice:p@127.0.0.1/x", _NETWORK),
    "x33 a Location with a line break in it": _redirect("/v2/\rAuthorization: x", _INTEGRITY),
    "x34 a Location of 60 KB": _redirect("/" + "x" * 60_000, _NETWORK),
    "x35 a realm that asks for a token for itself": Case(
        arm=token(error_reply(401, "UNAUTHORIZED").with_header("WWW-Authenticate", 'Bearer realm="/token"')),
        code=_DENIED,
        then=_few_requests,
    ),
    "x36 500 scopes in a challenge": Case(arm=challenge(_many_scopes()), code=_NETWORK, says="malformed"),
    "x37 a challenge of 60 KB": Case(
        arm=challenge('Bearer realm="{registry}/token",x="' + "\\a" * 30_000 + '"'),
        code=_NETWORK,
        says="malformed",
    ),
    "x38 a realm that is a path": Case(
        arm=challenge('Bearer realm="/token"'), code=_NETWORK, says="address", then=_nobody_else
    ),
    "x39 a registry that repeats what it was shown": Case(arm=_echoing, code=_DENIED),
    "x48 a redirect to a host that asks who we are": _redirect(
        "{stranger}{target}", _DENIED, then=_stranger_saw(1, 1)
    ),
    "x49 the number of an upload that is a path": _push(
        bend(faults.header("Docker-Upload-UUID", "../../../x\x7f"), "blobs/uploads", "POST"), 0, _arrived
    ),
    "x40 a token service that repeats what it was shown": Case(
        arm=lambda stage: setattr(
            stage.registry,
            "token_service",
            lambda request: error_reply(400, "DENIED", request.headers.get("Authorization", "")),
        ),
        code=_DENIED,
    ),
    "x41 a Retry-After of 100 digits": _busy("9" * 100, _NETWORK, None),
    "x42 a Retry-After in the year 9999": _busy("Fri, 31 Dec 9999 23:59:59 GMT", _NETWORK, None),
    "x43 a negative Retry-After": _busy("-5", 0),
    "x44 signs that move the cursor": Case(
        arm=manifests(faults.refuse(403, "DENIED", "\x1b[2J\r\nmrpack: all is well \u202e" + "x" * 5_000)),
        code=_DENIED,
    ),
    "x45 an upload that has more than there is": _push(
        _upload(Reply(416, {"Range": "0-99999999999"}), times=1), 0, _arrived
    ),
    "x46 an upload under another digest": _push(
        bend(faults.header("Docker-Content-Digest", f"sha256:{'a' * 64}"), "blobs/uploads", "PUT"),
        _INTEGRITY,
        _nothing_named,
    ),
    "x47 a manifest stored under another digest": _push(
        bend(faults.header("Docker-Content-Digest", f"sha256:{'a' * 64}"), "manifests", "PUT"), _INTEGRITY
    ),
    "x50 two lengths": _raw(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n", b"abc"),
    "x51 a length and chunks": _raw(
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"
    ),
    "x52 100 Continue without an end": _raw(b"", b"HTTP/1.1 100 Continue\r\n\r\n", for_ever=True),
    "x53 HTTP/1.0 that stays open and ends early": _raw(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 10\r\n\r\n", b"abc"
    ),
    "x54 headers without an end": _raw(HEAD, b"X-A: b\r\n", for_ever=True),
    "x55 another protocol": _raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "x56 a status of HTTP/9": _raw(b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\n", b"{}"),
    "x57 trailers without an end": _raw(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n", for_ever=True
    ),
    "x58 a second answer behind the first": _raw(
        b"HTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"{}"
    ),
    "x59 cookies": Case(arm=manifests(faults.header("Set-Cookie", "a=b; Domain=.0.0.1")), code=0),
    "x61 chunks of fewer bytes than none": _raw(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"-5\r\n{}\r\n-1\r\n\r\n", for_ever=True
    ),
    "x62 a chunk of 2^72 bytes": _raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"f" * 18 + b"\r\n{}"),
    "x63 another answer in the middle of a chunk": _raw(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1000\r\n{", b"HTTP/1.1 503 no\r\n\r\n"
    ),
    "x60 103 Early Hints without an end": _raw(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", for_ever=True),
}

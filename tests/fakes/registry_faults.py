"""The ways in which a fake registry misbehaves: each takes a request and the honest reply, and gives another.

A fault is laid on a repository with `FakeRegistry.fault`. Names say what the registry does, not what should
come of it: that is for the tests to say.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from tests.fakes.registry import Fault, Reply, Request, error_reply


def on(kind: str, method: str, how: Fault, *, times: int | None = None) -> Fault:
    """`how`, for one kind of request, and only the first `times` of them."""
    left = itertools.count()

    def fault(request: Request, reply: Reply) -> Reply:
        if request.kind != kind or request.method != method:
            return reply
        if times is not None and next(left) >= times:
            return reply
        return how(request, reply)

    return fault


def on_blobs(how: Fault, *, times: int | None = None) -> Fault:
    return on("blobs", "GET", how, times=times)


def answer(reply: Reply) -> Fault:
    """Always this."""
    return lambda _request, _reply: reply


def refuse(status: int, code: str = "UNKNOWN", message: str = "no", **headers: str) -> Fault:
    reply = error_reply(status, code, message)
    for name, value in headers.items():
        reply = reply.with_header(name.replace("_", "-"), value)
    return answer(reply)


def header(name: str, value: str) -> Fault:
    return lambda _request, reply: reply.with_header(name, value)


def body(content: bytes) -> Fault:
    """Other bytes, honestly declared."""
    return lambda _request, reply: replace(reply, body=content)


def flip_last_byte(_request: Request, reply: Reply) -> Reply:
    assert isinstance(reply.body, bytes)
    return replace(reply, body=reply.body[:-1] + bytes([reply.body[-1] ^ 1]))


def cut(keep: int, end: str = "close") -> Fault:
    """`end`: close, reset, or stall."""
    return lambda _request, reply: replace(reply, keep=keep, end=end)


def chunked(_request: Request, reply: Reply) -> Reply:
    return replace(reply, declared=None)


def cut_chunked(keep: int) -> Fault:
    """Chunks without the closing one."""
    return lambda _request, reply: replace(reply, declared=None, keep=keep)


def cut_without_length(keep: int) -> Fault:
    """The end of the connection is the only end: nobody can tell it from a cut."""
    return lambda _request, reply: replace(reply, declared="close", keep=keep)


def declare(length: int) -> Fault:
    """A Content-Length that is not true."""
    return lambda _request, reply: replace(reply, declared=length)


def endless(_request: Request, reply: Reply) -> Reply:
    def pieces() -> Iterator[bytes]:
        while True:
            yield bytes(65_536)

    return replace(reply, body=pieces(), declared=None)


def ignore_range(registry_blobs: dict[tuple[str, str], bytes]) -> Fault:
    def fault(request: Request, reply: Reply) -> Reply:
        if reply.status != 206:
            return reply
        return Reply(200, {}, registry_blobs[request.repository, request.name])

    return fault


def redirect(location: str, status: int = 307) -> Fault:
    """`{target}` in the location stands for the path that was asked for."""

    def fault(request: Request, _reply: Reply) -> Reply:
        return Reply(status, {"Location": location.replace("{target}", request.target)})

    return fault


def upload_location(location: str) -> Fault:
    """Another Location for a new upload; `{path}` stands for the honest one."""

    def fault(_request: Request, reply: Reply) -> Reply:
        if reply.status != 202:
            return reply
        return reply.with_header("Location", location.replace("{path}", reply.headers["Location"]))

    return on("blobs/uploads", "POST", fault)


def without_header(name: str) -> Fault:
    def fault(_request: Request, reply: Reply) -> Reply:
        return replace(reply, headers={key: value for key, value in reply.headers.items() if key != name})

    return fault

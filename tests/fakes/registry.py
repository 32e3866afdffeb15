"""An OCI registry in memory, in a thread on a free port, that misbehaves in one repository at a time.

It speaks distribution-spec 1.1: manifests, blobs with ranges, uploads in one or more requests, mounts, tags
in pages. `fault(repository, how)` bends the replies of one repository (see `registry_faults`); `protect` asks
for credentials. Every request is recorded, so that tests can count them and look for secrets in them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import mmap
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from mrpack.digest import Digest
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest

_API = re.compile(
    r"/v2/(?P<repository>[a-z0-9._/-]+)/"
    r"(?P<kind>manifests|blobs/uploads|blobs|tags)/(?P<name>[A-Za-z0-9:._-]*)"
)
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True)
class Request:
    """`kind` is manifests, blobs, blobs/uploads or tags; empty, like the rest, outside of the API."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    repository: str = ""
    kind: str = ""
    name: str = ""
    query: Mapping[str, str] = field(default_factory=dict)

    def holds(self, text: str) -> bool:
        return any(
            text in part for part in (self.target, *self.headers.values(), self.body.decode("latin-1"))
        )


@dataclass(frozen=True)
class Reply:
    """`keep`: so many bytes of the body are sent before the `end`: close, reset or stall.

    `declared`: a Content-Length that is not true, None for chunks, "close" for no mark of the end at all.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""
    declared: int | str | None = "truth"
    keep: int | None = None
    end: str = "close"

    def with_header(self, name: str, value: str) -> Reply:
        return replace(self, headers={**self.headers, name: value})


Fault = Callable[[Request, Reply], Reply]
"""Bends the reply to a request that was served."""


@dataclass
class Instead:
    """A fault that answers one kind of request and does nothing else; `times` of them, or all."""

    kind: str
    method: str
    reply: Reply
    times: int | None = None

    def takes(self, request: Request) -> bool:
        if (request.kind, request.method) != (self.kind, self.method) or self.times == 0:
            return False
        self.times = None if self.times is None else self.times - 1
        return True


class FakeRegistry:
    """Use it as a context manager. `address` is its name in references."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.requests: list[Request] = []
        self.token_service: Callable[[Request], Reply] = lambda _request: json_reply({"token": "good"})
        self.page_size = 2
        self.connections = 0
        self.client_certificates = 0
        self._uploads: dict[str, bytes] = {}
        self._upload_numbers = itertools.count()
        self._faults: dict[str, Fault | Instead] = {}
        self._protected: dict[str, tuple[str, frozenset[str]]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.registry = self
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.scheme = "http" if tls is None else "https"
        self.port: int = self._server.server_address[1]
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"{self.scheme}://{self.address}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def fault(self, repository: str, how: Fault | Instead) -> None:
        self._faults[repository] = how

    def protect(self, repository: str, challenge: str, *accepted: str) -> None:
        """Answer 401 with `challenge` unless the Authorization header is one of `accepted`."""
        self._protected[repository] = (challenge, frozenset(accepted))

    def add(self, repository: str, tag: str, *blobs: bytes) -> Manifest:
        """An artifact: the first blob is its config."""
        descriptors = [
            Descriptor(media_type="application/octet-stream", digest=Digest.of(blob), size=len(blob))
            for blob in blobs
        ]
        for blob, descriptor in zip(blobs, descriptors, strict=True):
            self.blobs[repository, str(descriptor.digest)] = blob
        manifest = Manifest.build(config=descriptors[0], layers=descriptors[1:])
        for name in (tag, str(manifest.descriptor.digest)):
            self.manifests[repository, name] = (manifest.media_type, manifest.raw)
        return manifest

    def seen(self, method: str = "", kind: str | None = None) -> list[Request]:
        with self._lock:
            requests = list(self.requests)
        return [
            request
            for request in requests
            if (not method or request.method == method) and (kind is None or request.kind == kind)
        ]

    def saw(self, secret: str) -> bool:
        return any(request.holds(secret) for request in self.seen())

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def hang_up(self) -> None:
        """Close the connections that clients keep, as a restarted registry would."""
        self._server.hang_up()

    def wait_for_close(self) -> None:
        """What a stalled reply does."""
        self._closing.wait()

    def answer(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
        if request.target.startswith("/token"):
            return self.token_service(request)
        how = self._faults.get(request.repository)
        with self._lock:  # each of the `times` counts once
            if isinstance(how, Instead) and how.takes(request):
                return how.reply
        challenge, accepted = self._protected.get(request.repository, ("", frozenset()))
        if challenge and request.headers.get("Authorization") not in accepted:
            reply = error_reply(401, "UNAUTHORIZED").with_header("WWW-Authenticate", challenge)
        else:
            with self._lock:
                reply = self._serve(request)
        return reply if how is None or isinstance(how, Instead) else how(request, reply)

    def _serve(self, request: Request) -> Reply:
        if request.target == "/v2/":
            return Reply()
        serve = {
            "manifests": self._serve_manifest,
            "blobs": self._serve_blob,
            "blobs/uploads": self._serve_upload,
            "tags": self._serve_tags,
        }.get(request.kind)
        return serve(request) if serve else error_reply(404, "NAME_UNKNOWN")

    def _serve_manifest(self, request: Request) -> Reply:
        key = (request.repository, request.name)
        if request.method == "PUT":
            digest = _digest(request.body)
            for descriptor in _named_by(request.body):
                if (request.repository, descriptor) not in self.blobs.keys() | self.manifests.keys():
                    return error_reply(400, "MANIFEST_BLOB_UNKNOWN")
            for name in (request.name, digest):
                self.manifests[request.repository, name] = (request.headers["Content-Type"], request.body)
            return Reply(201, {"Docker-Content-Digest": digest, "Location": f"{request.target}"})
        if key not in self.manifests:
            return error_reply(404, "MANIFEST_UNKNOWN")
        media_type, raw = self.manifests[key]
        return Reply(200, {"Content-Type": media_type, "Docker-Content-Digest": _digest(raw)}, raw)

    def _serve_blob(self, request: Request) -> Reply:
        blob = self.blobs.get((request.repository, request.name))
        if blob is None:
            return error_reply(404, "BLOB_UNKNOWN")
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": request.name}
        part = _RANGE.fullmatch(request.headers.get("Range", ""))
        if part is None:
            return Reply(200, headers, blob)
        start, stop = int(part[1]), min(int(part[2] or len(blob)) + 1, len(blob))
        if start >= len(blob):
            return Reply(416, {"Content-Range": f"bytes */{len(blob)}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(blob)}"
        return Reply(206, headers, blob[start:stop])

    def _serve_upload(self, request: Request) -> Reply:
        if request.method == "POST":
            return self._start_upload(request)
        content = self._uploads.get(request.name)
        if content is None:
            return error_reply(404, "BLOB_UPLOAD_UNKNOWN")
        content += request.body
        if request.method == "PUT":
            digest = request.query.get("digest", "")
            del self._uploads[request.name]
            if digest != _digest(content):
                return error_reply(400, "DIGEST_INVALID")
            self.blobs[request.repository, digest] = content
            return Reply(201, {"Docker-Content-Digest": digest})
        self._uploads[request.name] = content
        status = 204 if request.method == "GET" else 202
        return Reply(status, {"Location": request.target, "Range": f"0-{max(0, len(content) - 1)}"})

    def _start_upload(self, request: Request) -> Reply:
        digest, source = request.query.get("mount", ""), request.query.get("from", "")
        if (source, digest) in self.blobs:
            self.blobs[request.repository, digest] = self.blobs[source, digest]
            return Reply(201, {"Docker-Content-Digest": digest})
        name = f"upload-{next(self._upload_numbers)}"
        self._uploads[name] = b""
        return Reply(202, {"Location": f"/v2/{request.repository}/blobs/uploads/{name}?_state=a%2Fb"})

    def _serve_tags(self, request: Request) -> Reply:
        tags = sorted(
            name for owner, name in self.manifests if owner == request.repository and ":" not in name
        )
        if not tags:
            return error_reply(404, "NAME_UNKNOWN")
        rest = [tag for tag in tags if tag > request.query.get("last", "")]
        page = rest[: self.page_size]
        reply = json_reply({"name": request.repository, "tags": page})
        if len(rest) <= len(page):
            return reply
        following = f"/v2/{request.repository}/tags/list?n={self.page_size}&last={page[-1]}"
        return reply.with_header("Link", f'<{following}>; rel="next"')


def json_reply(value: object, status: int = 200) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(value).encode())


def error_reply(status: int, code: str, message: str = "no") -> Reply:
    return json_reply({"errors": [{"code": code, "message": message}]}, status)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _named_by(raw: bytes) -> list[str]:
    document = json.loads(raw)
    named = [document.get("config"), *document.get("layers", []), *document.get("manifests", [])]
    return [item["digest"] for item in named if item]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    registry: FakeRegistry

    def __init__(self, *args: object) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)  # type: ignore[arg-type]

    def process_request(self, request, client_address) -> None:
        self.registry.connections += 1
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Idle connections of clients that keep them would hold their threads."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, _request, _client_address) -> None:
        """Clients under test hang up as they like."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _handle(self) -> None:
        registry = self.server.registry
        if isinstance(self.connection, ssl.SSLSocket) and self.connection.getpeercert():
            registry.client_certificates += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = urlsplit(self.path)
        api = _API.fullmatch(parts.path)
        request = Request(
            self.command,
            self.path,
            dict(self.headers.items()),
            body,
            **(api.groupdict() if api else {}),
            query=dict(parse_qsl(parts.query)),
        )
        reply = registry.answer(request)
        self._write(reply)
        if reply.keep is not None:
            if reply.end == "stall":
                registry.wait_for_close()
            if reply.end == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815  # http.server asks

    def _write(self, reply: Reply) -> None:
        headers = {**reply.headers}
        if isinstance(reply.body, bytes | mmap.mmap) and reply.declared == "truth":
            headers.setdefault("Content-Length", str(len(reply.body)))
        elif isinstance(reply.declared, int):
            headers["Content-Length"] = str(reply.declared)
        elif reply.declared == "close":
            headers["Connection"] = "close"
            self.close_connection = True
        else:
            headers["Transfer-Encoding"] = "chunked"
        lines = [f"HTTP/1.1 {reply.status} fake", *(f"{name}: {value}" for name, value in headers.items())]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if self.command == "HEAD":
            return
        chunked = "Transfer-Encoding" in headers
        left = reply.keep
        for piece in [reply.body] if isinstance(reply.body, bytes) else reply.body:
            sent = piece[:left]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(sent), sent) if chunked and sent else sent)
            left = None if left is None else left - len(sent)
            if left == 0:
                return
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_args: object) -> None:
        pass

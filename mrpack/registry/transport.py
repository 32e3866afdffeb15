"""Requests over connections that are kept for the next one."""

from __future__ import annotations

import logging
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException, HTTPResponse
from typing import Final, Protocol

from mrpack.errors import RegistryUnavailable
from mrpack.registry.dialing import Dialer, Line
from mrpack.registry.framing import Wire
from mrpack.registry.reach import Reach
from mrpack.registry.response import Response, describe
from mrpack.registry.retry import Transient
from mrpack.registry.settings import RegistrySettings
from mrpack.registry.url import Origin, Url

_log = logging.getLogger(__name__)

# Load balancers drop idle connections after 60 s.
_IDLE_LIMIT_S: Final = 50.0
_IDLE_CONNECTIONS: Final = 8
# The second is what the first becomes under TLS.
_HANG_UPS: Final = (ConnectionError, ssl.SSLEOFError)


class Body(Protocol):
    """What a request carries when that is not in memory; `size` in bytes."""

    size: int

    def send(self, line: Line) -> None:
        """All of it. Raises OSError when the connection fails, MrpackError when the source does."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`own`: to a registry the user named. `nearest`: how near it may lie. `patience_s`: for the answer."""

    method: str
    url: Url
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | Body = field(default=b"", repr=False)
    own: bool = True
    nearest: Reach = Reach.LOCAL
    patience_s: float | None = None


class _HungUp(Transient):
    """The connection ended before an answer began."""


@dataclass(frozen=True, slots=True)
class _Idle:
    line: Line
    since_s: float


class Transport:
    """Thread-safe. Connections are kept apart by origin, and by whether they saw our certificate."""

    def __init__(self, settings: RegistrySettings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._dialer = Dialer(settings)
        self._lock = threading.Lock()
        self._idle: dict[tuple[Origin, bool], list[_Idle]] = {}

    def request(self, request: Request) -> Response:
        """Whatever status comes back is an answer.

        Raises:
            Transient: no connection, or it broke or stalled before the answer's headers were here.
            RegistryUnavailable: an untrusted certificate, an answer that is not HTTP.
            AccessDenied: the address may not be dialled.
        """
        line = self._take_idle(request)
        if line is not None:
            try:
                return self._exchange(request, line)
            except _HungUp:
                # It was closed while it was idle. A stream cannot be sent twice from here.
                if not isinstance(request.body, bytes):
                    raise
        line = self._dialer.dial(request.url.origin, own=request.own, nearest=request.nearest)
        return self._exchange(request, line)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, {}
        for lines in idle.values():
            for entry in lines:
                entry.line.sock.close()

    def _exchange(self, request: Request, line: Line) -> Response:
        settings = self._settings
        origin = request.url.origin
        try:
            wire = Wire(line.sock, settings.read_timeout_s)
            broken = self._send(request, line)
            wire.be_patient(request.patience_s or settings.read_timeout_s)
            try:
                raw = _begin(wire, request.method)
            except (OSError, HTTPException):
                if broken is not None:
                    raise broken from None
                raise
            _check_framing(raw, origin)
            wire.be_patient(settings.read_timeout_s)
        except (OSError, HTTPException) as error:
            line.sock.close()
            kind = _HungUp if isinstance(error, _HANG_UPS) else Transient
            raise kind(f"{origin}: no answer: {describe(error)}") from error
        except BaseException:
            line.sock.close()
            raise
        _log.debug("%s %s -> %s", request.method, request.url.shown, raw.status)

        raw.will_close = raw.will_close or broken is not None
        framing = wire.makefile("rb")
        return Response(raw, framing, request.url, line, partial(self._keep, (origin, request.own), line))

    def _send(self, request: Request, line: Line) -> OSError | None:
        """The failure, when the other side hung up while it was sent to: it may have answered before that."""
        url = request.url
        size = len(request.body) if isinstance(request.body, bytes) else request.body.size
        headers = {
            "Host": url.origin.authority,
            "User-Agent": self._settings.user_agent,
            "Accept-Encoding": "identity",
            **request.headers,
        }
        if size or request.method in {"POST", "PUT", "PATCH"}:
            headers["Content-Length"] = str(size)
        if line.proxy is not None and line.proxy.authorization is not None:
            headers["Proxy-Authorization"] = line.proxy.authorization.reveal()
        target = str(url) if line.proxy is not None else url.target
        head = _head(request.method, target, headers)
        try:
            if isinstance(request.body, bytes):
                send_bytes(line.sock, memoryview(head + request.body))
            else:
                send_bytes(line.sock, memoryview(head))
                request.body.send(line)
        except _HANG_UPS as error:
            return error
        return None

    def _take_idle(self, request: Request) -> Line | None:
        key = (request.url.origin, request.own)
        while True:
            with self._lock:
                lines = self._idle.get(key)
                if not lines:
                    return None
                entry = lines.pop()
            fresh = self._monotonic() - entry.since_s < _IDLE_LIMIT_S
            if fresh and entry.line.reach <= request.nearest and not _is_readable(entry.line):
                return entry.line
            entry.line.sock.close()

    def _keep(self, key: tuple[Origin, bool], line: Line) -> None:
        with self._lock:
            lines = self._idle.setdefault(key, [])
            if len(lines) < _IDLE_CONNECTIONS:
                lines.append(_Idle(line, self._monotonic()))
                return
        line.sock.close()


def send_bytes(sock: socket.socket, rest: memoryview) -> None:
    """All of it. The socket's time-out is for each piece; `sendall` would count it for the whole."""
    while rest:
        rest = rest[sock.send(rest) :]


def _head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    for line in lines:
        if not line.isascii() or not line.isprintable():
            # Never quote it: the line may be a token.
            raise RegistryUnavailable(f"a {line.partition(':')[0][:40]!a} that cannot be sent")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _begin(wire: Wire, method: str) -> HTTPResponse:
    """The head of the answer, behind any number of interim ones (RFC 9110, 15.2), as many as fit in a head.

    `http.client` passes over 100 alone; it would take 103 for the answer, and the answer for the next one's.
    """
    raw = HTTPResponse(wire, method=method)  # type: ignore[arg-type]  # only makefile() is used
    raw.begin()
    while raw.status < 200:
        raw.headers = None  # type: ignore[assignment]  # or it takes itself for begun
        raw.begin()
    return raw


def _check_framing(raw: HTTPResponse, origin: Origin) -> None:
    """Two statements on where the body ends let two readers disagree (request smuggling)."""
    lengths = raw.headers.get_all("content-length") or []
    codings = raw.headers.get_all("transfer-encoding") or []
    plain = all(text.isascii() and text.isdigit() and len(text) <= 18 for text in lengths)
    if not plain or len(set(lengths)) > 1 or (lengths and codings) or (codings and not raw.chunked):
        raise RegistryUnavailable(f"{origin}: an answer whose length is not clear")


def _is_readable(line: Line) -> bool:
    """An idle connection with something to read was closed, or speaks out of turn."""
    poll = select.poll()
    poll.register(line.sock, select.POLLIN)
    return bool(poll.poll(0))

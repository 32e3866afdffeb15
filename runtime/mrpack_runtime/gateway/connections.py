"""The listening side: aiohttp's server with deadlines, so that nobody keeps a connection without using it."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import ClientConnectionResetError
from aiohttp.web import BaseRequest, RequestHandler, Response, Server, StreamResponse

from mrpack.errors import MrpackError
from mrpack_runtime.gateway.errors import error_json
from mrpack_runtime.refusal import RequestRefused

_LOG: Final = logging.getLogger(__name__)
_MAX_HEADERS: Final = 100
_MAX_LINE: Final = 16 * 1024
_ADDRESS_SHARE: Final = 8
_NETWORK_BITS: Final = 64
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a client may take, in seconds.

    `header_s` from the connection, or from the first byte of a later request, to the end of the header;
    `body_s` for the whole body and `body_idle_s` between two pieces of it; `idle_s` between requests;
    `write_s` without taking anything of an answer. Overdue connections are looked for every `patrol_s`.
    """

    header_s: float = 10.0
    body_s: float = 120.0
    body_idle_s: float = 10.0
    idle_s: float = 75.0
    write_s: float = 60.0
    patrol_s: float = 1.0


class _Connection(RequestHandler):
    """Knows until when its client has to send a header, and since when it takes nothing of an answer."""

    __slots__ = ("_address", "_deadline", "_deadlines", "_in_request", "_server", "_stalled_since")

    def __init__(self, server: GatewayServer, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(server, loop=loop, **options)
        self._server = server
        self._address: str | None = None
        self._in_request = False
        self._deadlines = server.deadlines
        self._deadline: float | None = loop.time() + self._deadlines.header_s
        self._stalled_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._address = peer_address(transport.get_extra_info("peername"))
        if not self._server.let_in(self._address) and self.transport is not None:
            self.transport.write(_refusal())
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._server.let_out(self._address)

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and not self._in_request:
            self._deadline = self._loop.time() + self._deadlines.header_s
        super().data_received(data)

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  # aiohttp's signature
        """Nothing to resume is the rule: then parsing no bytes once more would only cost time."""
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    def begin_request(self) -> None:
        self._deadline = None
        self._in_request = True

    def end_request(self) -> None:
        self._in_request = False

    def is_overdue(self, now: float) -> bool:
        if not self.writing_paused:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = now
        elif now - self._stalled_since > self._deadlines.write_s:
            return True
        return self._deadline is not None and now > self._deadline

    def cut(self) -> None:
        transport = self.transport
        self.force_close()
        if transport is not None:
            transport.abort()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """What no route answered for: a request that is not HTTP (400), or a bug of ours (500).

        Raises ConnectionResetError when nobody is there to read it, or an answer has begun.
        """
        if isinstance(exc, ClientConnectionResetError):
            raise exc
        if status == RequestRefused.http_status:
            reason = next(iter((message or "").splitlines()), "malformed").rstrip(":")
            error: MrpackError = RequestRefused(f"not a valid HTTP request: {reason}")
        else:
            _LOG.error("a request ended in a bug", exc_info=exc)
            error = MrpackError("internal error", hint="the gateway's log says more; please report it")
        if request.writer.output_size:
            raise ConnectionResetError("an answer has begun: only its cut can tell")
        body = json.dumps({"error": error_json(error, with_log=False)}).encode()
        response = Response(status=error.http_status, body=body, content_type="application/json")
        response.force_close()
        return response


def _refusal() -> bytes:
    body = json.dumps({"error": error_json(MrpackError("too many connections"), with_log=False)}).encode()
    return _FULL % (len(body), body)


def peer_address(peer: object) -> str | None:
    """Of a client on another machine; of IPv6 the network, all of which one machine may have."""
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0]) if isinstance(peer, tuple) else None
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address is None or address.is_loopback:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _NETWORK_BITS), strict=False))
    return str(address)


class GatewayServer(Server):
    """Makes connections, at most `limit` at once, and patrols them. `answer` is called for every request.

    One address of another machine has at most an eighth of the connections.
    """

    def __init__(
        self,
        answer: Callable[[BaseRequest], Awaitable[StreamResponse]],
        deadlines: Deadlines,
        *,
        limit: int,
    ) -> None:
        super().__init__(self._serve, handler_cancellation=True)
        self._limit = limit
        self._by_address: Counter[str] = Counter()
        self.deadlines = deadlines
        self._answer = answer
        self._patrol_task = asyncio.get_running_loop().create_task(self._patrol())

    def let_in(self, address: str | None) -> bool:
        """Counts one more, whether there is room for it or not."""
        if address is None:
            return len(self._connections) <= self._limit
        self._by_address[address] += 1
        most = max(1, self._limit // _ADDRESS_SHARE)
        return len(self._connections) <= self._limit and self._by_address[address] <= most

    def let_out(self, address: str | None) -> None:
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def __call__(self) -> RequestHandler:
        return _Connection(
            self,
            self._loop,
            access_log=None,
            keepalive_timeout=self.deadlines.idle_s,
            auto_decompress=False,
            lingering_time=2.0,  # after a refusal, for a body that still comes
            max_headers=_MAX_HEADERS,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
        )

    async def close(self, grace_s: float) -> None:
        """Lets requests under way end within `grace_s`, then cuts all connections."""
        self._patrol_task.cancel()
        self.pre_shutdown()
        await self.shutdown(grace_s)

    async def _serve(self, request: BaseRequest) -> StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection)  # noqa: S101  # made by us
        connection.begin_request()
        try:
            return await self._answer(request)
        finally:
            connection.end_request()

    async def _patrol(self) -> None:
        while True:
            await asyncio.sleep(self.deadlines.patrol_s)
            now = self._loop.time()
            for connection in self.connections:
                if isinstance(connection, _Connection) and connection.is_overdue(now):
                    connection.cut()

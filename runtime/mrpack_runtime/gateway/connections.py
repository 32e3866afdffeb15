"""The listening side: HTTP/1.1 with deadlines, so that nobody keeps a connection without using it."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, cast

from mrpack.errors import MrpackError
from mrpack_runtime.framing import Malformed
from mrpack_runtime.gateway.errors import error_headers, error_json
from mrpack_runtime.gateway.exchange import Reply, Request, Response, not_http
from mrpack_runtime.gateway.heads import answer_head, parse_request_head, split_head
from mrpack_runtime.scheduling import Overloaded

_LOG: Final = logging.getLogger(__name__)
_ADDRESS_SHARE: Final = 8
_NETWORK_BITS: Final = 64
# Of requests that a client sends ahead: then it has to wait.
_AHEAD_LIMIT: Final = 64 * 1024
# For an answer to be read by a client that still sends: what it sends is thrown away meanwhile.
_LINGER_S: Final = 2.0
_BUG_HINT: Final = "the gateway's log says more; please report it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a client may take, in seconds.

    `header_s` from the connection, or from the first byte of a later request, to the end of the header;
    `body_idle_s` between two pieces of a body, which after as long has to come at `body_rate` bytes a second
    on average; `idle_s` between requests; `write_s` without taking anything of an answer. Overdue connections
    are looked for every `patrol_s`.
    """

    header_s: float = 10.0
    body_idle_s: float = 10.0
    body_rate: float = 8 * 1024  # a fifteenth of 1 Mbit/s
    idle_s: float = 75.0
    write_s: float = 60.0
    patrol_s: float = 1.0

    def of_next_piece(self, begun: float, now: float, size: int) -> float:
        """Until when more of a body has to come that began at `begun` and of which there are `size` bytes."""
        return min(now, begun + size / self.body_rate) + self.body_idle_s


class _Connection(asyncio.Protocol):
    """One client, whose requests are answered one after another."""

    def __init__(self, server: GatewayServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._address: str | None = None
        self._ahead = b""
        self._request: Request | None = None
        self._lingers = False
        # Until when the client has to send a head; None while a request is answered.
        self._deadline: float | None = loop.time() + server.deadlines.header_s
        self._is_idle = False
        self._room: asyncio.Future[None] | None = None
        self._stalled_since: float | None = None
        self._is_full = False
        self.task: asyncio.Task[None] | None = None

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = made = cast("asyncio.Transport", transport)
        # For uvloop to write at once, as asyncio does; 0 would stop TLS, where nothing left counts as full.
        made.set_write_buffer_limits(high=1)
        self._address = peer_address(made.get_extra_info("peername"))
        self._server.connections.add(self)
        if not self._server.let_in(self._address):
            self._refuse(Overloaded("too many connections", retry_after_s=1.0), lingering=False)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # gone is gone
        self._transport = None
        self._server.connections.discard(self)
        self._server.let_out(self._address)
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._request is not None and not self._request.body.is_complete:
            data = self._request.body.feed(data)
        if not data or self._lingers:
            return
        self._ahead = self._ahead + data if self._ahead else data
        if self.task is None:
            self._begin()
        elif len(self._ahead) > _AHEAD_LIMIT:
            self.hold()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # ---- Wire

    def write(self, *parts: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client has left")
        self._transport.writelines(parts)

    async def drain(self) -> None:
        if self._is_full:
            self._room = self._loop.create_future()
            await self._room

    def hold(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    # ---- for the server

    def is_overdue(self, now: float) -> bool:
        if not self._is_full:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = now
        elif now - self._stalled_since > self._server.deadlines.write_s:
            return True
        return self._deadline is not None and now > self._deadline

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """Ends with the answer that is under way, if any."""
        if self._request is not None:
            self._request.stays = False
        elif self._transport is not None:
            self._transport.close()

    # ---- requests

    def _begin(self) -> None:
        """With what is there: perhaps no whole head yet."""
        if self._is_idle:
            self._is_idle = False
            self._deadline = self._loop.time() + self._server.deadlines.header_s
        try:
            found = split_head(self._ahead)
            if found is None:
                return
            head = parse_request_head(found[0])
        except Malformed as error:
            self._refuse(not_http(error))
            return
        self._deadline = None
        self._request = Request(head, self)
        self._ahead = self._request.body.feed(found[1]) if found[1] else b""
        self.task = self._loop.create_task(self._answer(self._request))
        self.task.add_done_callback(self._end)

    async def _answer(self, request: Request) -> None:
        reply = await self._server.answer(request)
        if isinstance(reply, Response) and not request.is_begun:
            request.send(reply)
            await self.drain()  # who takes no answer gets no further ones

    def _end(self, task: asyncio.Task[None]) -> None:
        request, self._request, self.task = self._request, None, None
        error = None if task.cancelled() else task.exception()
        is_bug = error is not None and not isinstance(error, ConnectionResetError)
        if is_bug:
            _LOG.error("a request ended in a bug", exc_info=error)
        if self._transport is None or request is None:
            return
        if is_bug and not request.is_begun:
            self._refuse(MrpackError("internal error", hint=_BUG_HINT))
        elif not request.is_answered:  # only a cut can tell that
            self.cut()
        elif not request.stays:
            self._finish(lingering=not request.body.is_complete)
        else:
            self._is_idle = True
            self._deadline = self._loop.time() + self._server.deadlines.idle_s
            if self._ahead:
                self.resume()
                self._begin()

    def _refuse(self, error: MrpackError, *, lingering: bool = True) -> None:
        """The last answer, outside of any request."""
        _LOG.debug("refused: %s", error)
        body = json.dumps({"error": error_json(error, with_log=False)}).encode()
        headers = {"Content-Type": "application/json", **error_headers(error)}
        framing = f"Content-Length: {len(body)}\r\n"
        head = answer_head(error.http_status, headers, framing=framing, stays=False, now=time.time())
        if self._transport is not None:
            self._transport.write(head + body)
        self._finish(lingering=lingering)

    def _finish(self, *, lingering: bool) -> None:
        """`lingering`: the client may still send, and would lose the answer if that was not taken."""
        if self._transport is None or self._transport.is_closing():
            return
        if not lingering:
            self._transport.close()
            return
        self._lingers = True
        self._ahead = b""
        self._deadline = self._loop.time() + _LINGER_S
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()


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


class GatewayServer:
    """Makes connections, at most `limit` at once, and patrols them. `answer` is called for every request.

    One address of another machine has at most an eighth of the connections. Belongs to one event loop.
    """

    def __init__(
        self, answer: Callable[[Request], Awaitable[Reply]], deadlines: Deadlines, *, limit: int
    ) -> None:
        self._limit = limit
        self.connections: set[_Connection] = set()
        self._by_address: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()
        self._patrol_task = self._loop.create_task(self._patrol())
        self.answer = answer
        self.deadlines = deadlines

    def __call__(self) -> asyncio.Protocol:
        return _Connection(self, self._loop)

    def let_in(self, address: str | None) -> bool:
        """Counts one more, whether there is room for it or not."""
        if address is None:
            return len(self.connections) <= self._limit
        self._by_address[address] += 1
        most = max(1, self._limit // _ADDRESS_SHARE)
        return len(self.connections) <= self._limit and self._by_address[address] <= most

    def let_out(self, address: str | None) -> None:
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    async def close(self, grace_s: float) -> None:
        """Lets requests under way end within `grace_s`, then cuts all connections."""
        self._patrol_task.cancel()
        for connection in tuple(self.connections):
            connection.leave()
        await self._wait_for_requests(grace_s)
        for connection in tuple(self.connections):
            connection.cut()
        await self._wait_for_requests(grace_s)

    async def _wait_for_requests(self, seconds: float) -> None:
        tasks = [connection.task for connection in self.connections if connection.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def _patrol(self) -> None:
        while True:
            await asyncio.sleep(self.deadlines.patrol_s)
            now = self._loop.time()
            for connection in tuple(self.connections):
                if connection.is_overdue(now):
                    connection.cut()

"""The listening side: HTTP/1.1 with deadlines, so that nobody keeps a connection without using it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ssl import SSLContext
from typing import Final, cast

from mrpack.errors import MrpackError
from mrpack_runtime.gateway.errors import ErrorShape, error_headers, error_json, openai_shape
from mrpack_runtime.gateway.exchange import Reply, Request, Response, not_http
from mrpack_runtime.gateway.heads import JSON_TYPE, answer_head, parse_request_head, path_of, split_head
from mrpack_runtime.gateway.peers import peer_address, untaken_size
from mrpack_runtime.gateway.tls import TlsTransport
from mrpack_runtime.scheduling import Overloaded
from mrpack_runtime.wire.framing import HEAD_LIMIT, Malformed

_LOG: Final = logging.getLogger(__name__)
_ADDRESS_SHARE: Final = 8
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
        self._seen = 0  # of `_ahead`, in search of the end of a head
        self._request: Request | None = None
        self._lingers = False
        # Until when the client has to send a head; None while a request is answered.
        self._deadline: float | None = loop.time() + server.deadlines.header_s
        self._is_idle = False
        self._room: asyncio.Future[None] | None = None
        self._stalled_since: float | None = None
        self._is_full = False
        self._untaken = 0
        self.task: asyncio.Task[None] | None = None

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = made = cast("asyncio.Transport", transport)
        made.set_write_buffer_limits(high=0)  # `drain` waits for all that the system does not take at once
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

    def eof_received(self) -> None:
        """A client that ends its side has left: so do most who leave, and their engines have to stop."""

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
        self._stalled_since = None
        if self._lingers:
            self._deadline = self._loop.time() + _LINGER_S
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
        """Who has something to take is late when it takes nothing; else, when nothing comes of it."""
        if not self._is_full or self._transport is None:
            return self._deadline is not None and now > self._deadline
        untaken = untaken_size(self._transport)
        if self._stalled_since is None or untaken < self._untaken:
            self._stalled_since = now
        self._untaken = untaken
        return now - self._stalled_since > self._server.deadlines.write_s

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
            found = split_head(self._ahead, self._seen)
            if found is None:
                self._seen = len(self._ahead)
                return
            head = parse_request_head(found[0])
        except Malformed as error:
            self._refuse(not_http(error), path_of(self._ahead[:HEAD_LIMIT]))
            return
        self._deadline = None
        self._seen = 0
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
        if error is not None and not isinstance(error, ConnectionResetError):
            _LOG.error("a request ended in a bug", exc_info=error)
        if self._transport is None or request is None:
            return
        if not request.is_begun:
            self._refuse(MrpackError("internal error", hint=_BUG_HINT), request.path)
        elif not request.is_answered:  # only a cut can tell that
            self.cut()
        elif not request.stays:
            self._finish(lingering=bool(self._ahead) or not request.body.is_complete)
        else:
            self._is_idle = True
            self._deadline = self._loop.time() + self._server.deadlines.idle_s
            if self._ahead:
                self.resume()
                self._begin()

    def _refuse(self, error: MrpackError, path: str = "", *, lingering: bool = True) -> None:
        """The last answer, outside of any request."""
        _LOG.debug("refused: %s", error)
        shape = self._server.error_shape(path)
        body = json.dumps(shape(error.http_status, error_json(error, with_log=False))).encode()
        headers = {"Content-Type": JSON_TYPE, **error_headers(error)}
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


class GatewayServer:
    """Makes connections, at most `limit` at once, and patrols them. `answer` is called for every request.

    One address of another machine has at most an eighth of the connections; who has too many is told so, but
    not over TLS, where a handshake would come first. `error_shape` says by the path, which may be empty, how
    what never becomes a request is refused. Belongs to one event loop.
    """

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Reply]],
        deadlines: Deadlines,
        *,
        limit: int,
        tls: SSLContext | None = None,
        error_shape: Callable[[str], ErrorShape] = lambda _path: openai_shape,
    ) -> None:
        self._limit = limit
        self._tls = tls
        self.connections: set[_Connection] = set()
        self._by_address: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()
        self._patrol_task = self._loop.create_task(self._patrol())
        self.answer = answer
        self.error_shape = error_shape
        self.deadlines = deadlines

    def __call__(self) -> asyncio.Protocol:
        connection = _Connection(self, self._loop)
        return connection if self._tls is None else TlsTransport(self._tls, connection)

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
        """Who comes too late to look cuts nobody: as we stood still, so may clients on the same machine.

        Of rounds that are all too late every sixth counts: an overload must not shelter those who dawdle.
        """
        pause_s = self.deadlines.patrol_s
        late = 0
        while True:
            begun = self._loop.time()
            await asyncio.sleep(pause_s)
            now = self._loop.time()
            late = late + 1 if now > begun + 2 * pause_s else 0
            if late % 6:
                continue
            for connection in tuple(self.connections):
                if connection.is_overdue(now):
                    connection.cut()

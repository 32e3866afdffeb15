"""HTTP/1.1 to one engine: connections that are kept, answers that stream, and an end when we say so."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Final, cast

from mrpack_runtime.wire.endpoint import Endpoint, UnixEndpoint
from mrpack_runtime.wire.http1 import BrokenAnswer, EarlyEnd, ResponseHead, ResponseReader

# The engine has to wait when this much of its answer was not fetched yet: bounds memory per slow client.
_HIGH_WATER: Final = 256 * 1024
_CONNECT_TIMEOUT_S: Final = 10.0
# llama.cpp lets five wait at its socket.
_FULL_PAUSE_S: Final = 0.005
# cpp-httplib closes idle connections after 5 s: do not write into one that is about to go.
_IDLE_LIMIT_S: Final = 3.0
_JOIN_LIMIT: Final = 16 * 1024


class Connection(asyncio.Protocol):
    """One connection, and the one request that is under way on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._reader = ResponseReader()
        self._parts: list[bytes] = []
        self._size = 0
        self._paused = False
        self._error: BrokenAnswer | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.idle_since = 0.0

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = made = cast("asyncio.Transport", transport)
        made.set_write_buffer_limits(high=1)  # for uvloop to write at once, as asyncio does

    def data_received(self, data: bytes) -> None:
        try:
            part = self._reader.feed(data)
        except BrokenAnswer as error:
            self._error = error
            self.close()
        else:
            if part:
                self._parts.append(part)
                self._size += len(part)
                if self._size > _HIGH_WATER and not self._paused and self._transport is not None:
                    self._paused = True
                    self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # a reset is an early end too
        self._transport = None
        if self._error is None and not self._reader.done:
            try:
                self._reader.end()
            except BrokenAnswer as error:
                self._error = error
        self._wake()

    # ---- for Upstream and its callers

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def answered(self) -> bool:
        """Whether any part of an answer arrived."""
        return self._reader.head is not None

    @property
    def head(self) -> ResponseHead:
        head = self._reader.head
        if head is None:
            raise BrokenAnswer("the engine has not answered")
        return head

    @property
    def reusable(self) -> bool:
        return self._reader.done and self._error is None and self.is_open and self.head.keep_alive

    async def send(self, head: bytes, body: bytes) -> None:
        """Sends a request and returns when the head of the answer is there.

        Raises:
            BrokenAnswer: the connection ended before.
        """
        self._reader = ResponseReader()
        if self._transport is None:
            raise EarlyEnd("the engine closed the connection before it answered")
        if len(body) > _JOIN_LIMIT:
            self._transport.write(head)
            self._transport.write(body)
        else:
            self._transport.write(head + body)
        while self._reader.head is None:
            await self._arrival()

    async def read(self) -> bytes:
        """All that arrived of the body since the last call, at least a byte; empty at the end.

        Raises:
            BrokenAnswer: the answer will never be complete. What had arrived was returned before.
        """
        while not self._parts:
            if self._reader.done:
                return b""
            await self._arrival()
        part = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return part

    async def read_all(self, limit: int) -> bytes:
        """The rest of the body.

        Raises:
            BrokenAnswer: it is incomplete, or longer than `limit` bytes.
        """
        parts: list[bytes] = []
        size = 0
        while part := await self.read():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise BrokenAnswer(f"the engine sent more than {limit} bytes")
        return b"".join(parts)

    def close(self) -> None:
        """At once, whatever is under way: the engine notices and stops its work."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _arrival(self) -> asyncio.Future[None]:
        """Of whatever comes next: a piece or the end. Raises what has gone wrong."""
        if self._error is not None:
            raise type(self._error)(self._error.message)
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Upstream:
    """All connections to one engine process."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()

    def post(
        self, path: str, body: bytes, content_type: str = "application/json"
    ) -> Coroutine[None, None, Connection]:
        """Sends a body; returns when the head of the answer is there. Give the connection back to `finish`.

        A kept connection that the engine closed meanwhile is replaced once: no byte of an answer had come.

        Raises:
            BrokenAnswer: the engine cannot be reached or does not answer in HTTP.
        """
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
            f"Accept: */*\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode("ascii")
        return self._request(head, body)

    def get(self, path: str) -> Coroutine[None, None, Connection]:
        """As `post`, without a body."""
        return self._request(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("ascii"), b"")

    def finish(self, connection: Connection) -> None:
        """Keeps the connection when the answer was read to its end, else closes it. Idempotent."""
        if connection not in self._busy:
            return
        self._busy.remove(connection)
        if connection.reusable:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()

    async def _request(self, head: bytes, body: bytes) -> Connection:
        if (kept := self._take_idle()) is not None:
            try:
                return await self._send(kept, head, body)
            except BrokenAnswer:
                if kept.answered:
                    raise
        return await self._send(await self._connect(), head, body)

    async def _send(self, connection: Connection, head: bytes, body: bytes) -> Connection:
        self._busy.add(connection)
        try:
            await connection.send(head, body)
        except BaseException:  # also a client that left: the engine must stop
            self._busy.discard(connection)
            connection.close()
            raise
        return connection

    def _take_idle(self) -> Connection | None:
        """The one used last: engines give a thread to every open connection, so few should stay open."""
        oldest = self._loop.time() - _IDLE_LIMIT_S
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                while True:
                    try:
                        return await self._open()
                    except BlockingIOError:  # uvloop's, when the engine's line of new connections is full
                        await asyncio.sleep(_FULL_PAUSE_S)
        except (OSError, TimeoutError) as error:
            raise EarlyEnd(f"the engine cannot be reached: {str(error) or 'time-out'}") from error

    async def _open(self) -> Connection:
        def factory() -> Connection:
            return Connection(self._loop)

        endpoint = self._endpoint
        if isinstance(endpoint, UnixEndpoint):
            _, connection = await self._loop.create_unix_connection(factory, str(endpoint.path))
        else:
            _, connection = await self._loop.create_connection(factory, endpoint.host, endpoint.port)
        return connection

"""One request and its answer, as handlers see them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from mrpack_runtime.gateway.heads import RequestHead, answer_head
from mrpack_runtime.protocols.refusal import RequestRefused
from mrpack_runtime.wire.framing import ChunkReader, Malformed

# Of a body that nobody reads yet: then its client has to wait.
_HIGH_WATER: Final = 256 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS: Final = frozenset({204, 304})


class Wire(Protocol):
    """The connection, as an exchange needs it."""

    def write(self, *parts: bytes) -> None:
        """Raises ConnectionResetError when the client has left."""
        ...

    async def drain(self) -> None:
        """Until the client has taken most of it. Raises as `write`."""
        ...

    def hold(self) -> None:
        """Takes no more from the client until `resume`."""
        ...

    def resume(self) -> None: ...


class Body:
    """What follows the head of a request, as it arrives."""

    __slots__ = (
        *("_chunks", "_error", "_held", "_left", "_parts", "_size", "_waiter", "_waits", "_wire"),
        "length",
    )

    def __init__(self, head: RequestHead, wire: Wire) -> None:
        self.length = head.length
        """In bytes; None when it was not announced."""
        self._wire = wire
        self._chunks = ChunkReader() if head.length is None else None
        self._left = head.length or 0
        self._parts: list[bytes] = []
        self._size = 0
        self._held = False
        # The client, for us to say that it may go on.
        self._waits = head.length != 0 and head.expects_continue
        self._waiter: asyncio.Future[None] | None = None
        self._error: Malformed | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all of it arrived, read or not."""
        return not self._left if self._chunks is None else self._chunks.done

    def feed(self, content: bytes) -> bytes:
        """Takes what belongs to the body; gives the rest, which is of a later request."""
        if self._error is not None:
            return b""
        if self._chunks is not None:
            try:
                part = self._chunks.feed(content)
            except Malformed as error:
                self._error = error
                part = rest = b""
            else:
                rest = self._chunks.rest
        else:
            part, rest = content[: self._left], content[self._left :]
            self._left -= len(part)
        if part:
            self._parts.append(part)
            self._size += len(part)
            if self._size > _HIGH_WATER and not self.is_complete:
                self._held = True
                self._wire.hold()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return rest

    def take(self) -> bytes:
        """All that is there, without waiting."""
        parts, self._parts, self._size = self._parts, [], 0
        if self._held:
            self._held = False
            self._wire.resume()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read(self) -> bytes:
        """What arrived since the last call, at least a byte; empty at the end.

        Raises:
            RequestRefused: what comes is no body.
        """
        if self._waits and not self._parts and not self.is_complete:
            self._wire.write(_CONTINUE)
        self._waits = False
        while not self._parts:
            if self._error is not None:
                raise not_http(self._error)
            if self.is_complete:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self.take()


def not_http(error: Malformed) -> RequestRefused:
    return RequestRefused(f"not a valid HTTP request: {error}")


class Response(NamedTuple):
    """A whole answer."""

    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""


class Stream:
    """An answer in pieces, whose head was sent. Without `end` its connection is cut: it is not whole."""

    __slots__ = ("_chunked", "_request", "status")

    def __init__(self, request: Request, status: int, *, chunked: bool) -> None:
        self.status = status
        self._request = request
        self._chunked = chunked

    async def write(self, piece: bytes) -> None:
        """Returns when there is room for more. Raises ConnectionResetError when the client has left."""
        if piece:
            wire = self._request.wire
            if self._chunked:
                wire.write(b"%x\r\n" % len(piece), piece, b"\r\n")
            else:
                wire.write(piece)
            await wire.drain()

    def end(self) -> None:
        if self._chunked:
            self._request.wire.write(b"0\r\n\r\n")
        self._request.is_answered = True


Reply = Response | Stream


class Request:
    """A request, and the way back to its client.

    `is_begun`: some of an answer was sent; `is_answered`: all of it; `stays`: another request may follow.
    """

    __slots__ = ("body", "head", "headers", "is_answered", "is_begun", "method", "path", "stays", "wire")

    def __init__(self, head: RequestHead, wire: Wire) -> None:
        self.head = head
        self.method = head.method
        self.path = head.path
        self.headers = head.headers
        self.body = Body(head, wire)
        self.wire = wire
        self.is_begun = False
        self.is_answered = False
        self.stays = head.may_stay

    @property
    def query(self) -> Mapping[str, str]:
        return self.head.query

    @property
    def has_body(self) -> bool:
        return self.body.length != 0

    def send(self, response: Response) -> None:
        """The whole answer, at once."""
        body = response.body
        framing = "" if response.status in _BODILESS else f"Content-Length: {len(body)}\r\n"
        head = self._begin(response.status, response.headers, framing)
        if body and framing and self.method != "HEAD":
            self.wire.write(head, body)
        else:
            self.wire.write(head)
        self.is_answered = True

    def stream(self, headers: Mapping[str, str], *, status: int = 200, length: int | None = None) -> Stream:
        """Sends the head of an answer of `length` bytes, or of as many as there will be.

        Raises:
            CancelledError: that was all that HEAD asks for.
        """
        chunked = length is None and self.head.can_chunk
        if length is not None:
            framing = f"Content-Length: {length}\r\n"
        else:
            framing = "Transfer-Encoding: chunked\r\n" if chunked else ""
        self.wire.write(self._begin(status, headers, framing))
        if self.method == "HEAD":
            self.is_answered = True
            raise asyncio.CancelledError
        return Stream(self, status, chunked=chunked)

    def _begin(self, status: int, headers: Mapping[str, str], framing: str) -> bytes:
        """A client that still sends is not waited for: its connection ends with the answer."""
        self.stays = self.stays and self.body.is_complete
        head = answer_head(status, headers, framing=framing, stays=self.stays, now=time.time())
        self.is_begun = True
        return head

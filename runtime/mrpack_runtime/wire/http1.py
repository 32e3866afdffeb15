"""The client's half of HTTP/1.1 without input or output: strict, bounded reading of one answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mrpack.errors import EngineFailed
from mrpack_runtime.wire.framing import HEAD_LIMIT, ChunkReader, Fields, Malformed, framing_of, parse_fields

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?")
_BODILESS: Final = frozenset({204, 304})


class BrokenAnswer(EngineFailed):
    """What the engine sent is not what was asked for, or not even HTTP."""

    code = "engine_broke_protocol"


class EarlyEnd(BrokenAnswer):
    """The engine closed the connection, or takes none: it may have died."""

    code = "engine_broke_connection"


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """`length` of the body in bytes, None when not announced."""

    status: int
    fields: Fields
    keep_alive: bool
    length: int | None
    chunked: bool

    def get(self, name: str) -> str:
        """The first value of a field; empty when there is none. `name` in lower case."""
        return next((value for field, value in self.fields if field == name), "")


class ResponseReader:
    """One answer to one request, not HEAD. Feed it what arrives; `head` and `done` tell how far it is."""

    __slots__ = ("_buffer", "_chunks", "_left", "done", "head")

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.done = False
        self._buffer = b""
        self._chunks: ChunkReader | None = None
        # Of a body that is not chunked; None: until the connection closes.
        self._left: int | None = 0

    def feed(self, content: bytes) -> bytes:
        """The bytes of the body that `content` completes, without framing.

        Raises:
            BrokenAnswer: not HTTP, over the limits, or more than one answer.
        """
        try:
            return self._feed(content)
        except Malformed as error:
            raise BrokenAnswer(f"the engine sent {error}") from error

    def end(self) -> None:
        """The connection was closed.

        Raises:
            EarlyEnd: before the end of the answer.
        """
        if self.head is not None and self._left is None:
            self.done = True
        if not self.done:
            raise EarlyEnd(
                "the engine closed the connection "
                + ("before it answered" if self.head is None else "in the middle of its answer")
            )

    def _feed(self, content: bytes) -> bytes:
        if self.head is None:
            content = self._read_head(self._buffer + content)
            if self.head is None:
                return b""
        if self.done:
            if content:
                raise Malformed("more than its answer")
            return b""
        if self._chunks is not None:
            body = self._chunks.feed(content)
            self.done = self._chunks.done
            if self._chunks.rest:
                raise Malformed("more than its answer")
            return body
        if self._left is None:
            return content
        if len(content) > self._left:
            raise Malformed("more than it announced")
        self._left -= len(content)
        self.done = self._left == 0
        return content

    def _read_head(self, buffer: bytes) -> bytes:
        while True:
            end = buffer.find(b"\r\n\r\n", 0, HEAD_LIMIT)
            if end < 0:
                if len(buffer) >= HEAD_LIMIT or not b"HTTP/1.".startswith(buffer[:7]):
                    raise BrokenAnswer("the engine does not speak HTTP")
                self._buffer = buffer
                return b""
            head = _parse_head(buffer[:end])
            buffer = buffer[end + 4 :]
            if head.status >= 200:  # else interim, such as 100 Continue
                break
        self.head = head
        self._buffer = b""
        if head.status in _BODILESS:
            self.done = True
        elif head.chunked:
            self._chunks = ChunkReader()
        else:
            self._left = head.length
            self.done = head.length == 0
        return buffer


@lru_cache(maxsize=64)
def _parse_head(content: bytes) -> ResponseHead:
    """Cached, as the heads of an engine's streams are the same bytes. Raises BrokenAnswer, Malformed."""
    first, *lines = content.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    if status is None:
        raise BrokenAnswer("the engine does not speak HTTP")
    fields = parse_fields(lines)
    framing = framing_of(fields)
    code = int(status[2])
    has_end = framing.length is not None or framing.chunked or code in _BODILESS
    stays = "close" not in framing.connection and (status[1] == b"1" or "keep-alive" in framing.connection)
    return ResponseHead(
        status=code,
        fields=fields,
        keep_alive=stays and has_end,
        length=framing.length,
        chunked=framing.chunked,
    )

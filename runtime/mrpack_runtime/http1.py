"""The client's half of HTTP/1.1 without input or output: strict, bounded reading of one answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mrpack.errors import EngineFailed

HEAD_LIMIT: Final = 64 * 1024
_LINE_LIMIT: Final = 4096
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
# RFC 9112, 7.1; 15 digits stay below 2**63.
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?")
_UNCLEAR: Final = "the engine sent an answer of unclear length"
_BODILESS: Final = frozenset({204, 304})


class BrokenAnswer(EngineFailed):
    """What the engine sent is not what was asked for, or not even HTTP."""

    code = "engine_broke_protocol"


class EarlyEnd(BrokenAnswer):
    """The engine closed the connection, or takes none: it may have died."""

    code = "engine_broke_connection"


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """`fields` with names in lower case, in order. `length` of the body in bytes, None when not announced."""

    status: int
    fields: tuple[tuple[str, str], ...]
    keep_alive: bool
    length: int | None
    chunked: bool

    def get(self, name: str) -> str:
        """The first value of a field; empty when there is none. `name` in lower case."""
        return next((value for field, value in self.fields if field == name), "")


class ResponseReader:
    """One answer to one request, not HEAD. Feed it what arrives; `head` and `done` tell how far it is."""

    __slots__ = ("_buffer", "_in_trailer", "_left", "done", "head")

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.done = False
        self._buffer = b""
        # Of the body, or of the current chunk with its line end; None: until the connection closes.
        self._left: int | None = 0
        self._in_trailer = False

    def feed(self, content: bytes) -> bytes:
        """The bytes of the body that `content` completes, without framing.

        Raises:
            BrokenAnswer: not HTTP, over the limits, or more than one answer.
        """
        if self.head is None:
            content = self._read_head(self._buffer + content)
            if self.head is None:
                return b""
        if self.done:
            if content:
                raise BrokenAnswer("the engine sent more than its answer")
            return b""
        if self.head.chunked:
            if self._in_trailer:
                self._buffer += content
                self._skip_trailer()
                return b""
            return self._read_chunks(content)
        if self._left is None:
            return content
        if len(content) > self._left:
            raise BrokenAnswer("the engine sent more than it announced")
        self._left -= len(content)
        self.done = self._left == 0
        return content

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
        elif not head.chunked:
            self._left = head.length
            self.done = head.length == 0
        return buffer

    def _read_chunks(self, content: bytes) -> bytes:
        """Joins all chunks at hand, so that many small ones cost one write."""
        buffer = self._buffer + content if self._buffer else content
        parts: list[bytes] = []
        at = self._finish_chunk(buffer, parts)
        if not self._left:
            at = self._take_whole_chunks(buffer, at, parts)
        self._buffer = buffer[at:]
        if self._in_trailer:
            self._skip_trailer()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _take_whole_chunks(self, buffer: bytes, at: int, parts: list[bytes]) -> int:
        """From `at` on, and of the last one what is there. Streams spend most of their time here."""
        end = len(buffer)
        while (line_end := buffer.find(b"\r\n", at)) >= 0:
            size = _parse_chunk_size(buffer[at:line_end])
            at = line_end + 2
            stop = at + size
            if not size:
                self._in_trailer = True
                return at
            if stop + 2 > end:
                self._left = size + 2
                return at + self._finish_chunk(buffer[at:], parts)
            if buffer[stop : stop + 2] != b"\r\n":
                raise BrokenAnswer("the engine sent a chunk of another length than announced")
            parts.append(buffer[at:stop])
            at = stop + 2
        if end - at > _LINE_LIMIT:
            raise BrokenAnswer("the engine sent a chunk without a size")
        return at

    def _finish_chunk(self, buffer: bytes, parts: list[bytes]) -> int:
        """Takes what is there of a chunk that began before; how many bytes that were."""
        left = self._left or 0
        part = buffer[: max(0, left - 2)]
        if part:
            parts.append(part)
            left -= len(part)
        at = len(part)
        if 0 < left <= 2 and len(buffer) - at >= 2:  # its line end is never taken in halves
            if buffer[at : at + 2] != b"\r\n":
                raise BrokenAnswer("the engine sent a chunk of another length than announced")
            at += 2
            left = 0
        self._left = left
        return at

    def _skip_trailer(self) -> None:
        while (line_end := self._buffer.find(b"\r\n")) >= 0:
            line, self._buffer = self._buffer[:line_end], self._buffer[line_end + 2 :]
            if not line:
                self.done = True
                if self._buffer:
                    raise BrokenAnswer("the engine sent more than its answer")
                return
        if len(self._buffer) > HEAD_LIMIT:
            raise BrokenAnswer("the engine sent an endless trailer")


@lru_cache(maxsize=64)
def _parse_head(content: bytes) -> ResponseHead:
    """All streams of an engine begin in the same words."""
    first, *lines = content.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    if status is None:
        raise BrokenAnswer("the engine does not speak HTTP")
    fields = tuple(_parse_field(line) for line in lines)
    length: int | None = None
    codings: list[str] = []
    connection: list[str] = []
    for name, value in fields:
        if name == "content-length":
            if length not in (None, found := _parse_length(value)):
                raise BrokenAnswer(_UNCLEAR)
            length = found
        elif name == "transfer-encoding":
            codings += _tokens(value)
        elif name == "connection":
            connection += _tokens(value)
    if codings not in ([], ["chunked"]) or (codings and length is not None):
        raise BrokenAnswer(_UNCLEAR)
    code = int(status[2])
    has_end = length is not None or bool(codings) or code in _BODILESS
    stays = "close" not in connection and (status[1] == b"1" or "keep-alive" in connection)
    return ResponseHead(
        status=code, fields=fields, keep_alive=stays and has_end, length=length, chunked=bool(codings)
    )


@lru_cache(maxsize=512)
def _parse_field(line: bytes) -> tuple[str, str]:
    """An engine sends the same lines again and again."""
    match = _FIELD.fullmatch(line)
    if match is None:
        raise BrokenAnswer("the engine sent a malformed header")
    return match[1].decode("ascii").lower(), match[2].decode("latin-1")


@lru_cache(maxsize=4096)
def _parse_chunk_size(line: bytes) -> int:
    match = _CHUNK_SIZE.fullmatch(line) if len(line) < _LINE_LIMIT else None
    if match is None:
        raise BrokenAnswer("the engine sent a chunk without a size")
    return int(match[1], 16)


def _tokens(value: str) -> list[str]:
    return [token.strip().lower() for token in value.split(",") if token.strip()]


def _parse_length(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise BrokenAnswer(_UNCLEAR)
    return int(text)

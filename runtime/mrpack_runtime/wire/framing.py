"""HTTP/1.1 as both sides write it: lines of a header, the length of a body, chunks. Strict and bounded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

HEAD_LIMIT: Final = 64 * 1024
_LINE_LIMIT: Final = 4096
# Lines up to here are remembered: the others could fill the memory.
SHORT_LINE: Final = 512
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
# RFC 9112, 7.1; 15 digits stay below 2**63.
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})(?:[ \t]*;[^\r\n]*)?")
_LENGTH_DIGITS: Final = 18
_LENGTHS: Final = frozenset({"content-length", "transfer-encoding"})
_UNCLEAR: Final = "a body of unclear length"

Fields = tuple[tuple[str, str], ...]
"""Names in lower case, in order."""


class Malformed(ValueError):
    """This is not HTTP, or too much of it; the text is what was sent, such as `a chunk without a size`."""


class Framing(NamedTuple):
    """How a message ends: `length` of its body in bytes, None when not announced; what `Connection` says."""

    length: int | None
    chunked: bool
    connection: tuple[str, ...]


def parse_fields(lines: Iterable[bytes]) -> Fields:
    """Raises Malformed."""
    return tuple([_known_field(line) if len(line) <= SHORT_LINE else _parse_field(line) for line in lines])


def framing_of(fields: Fields) -> Framing:
    """Raises Malformed, also for two lengths: somebody else could believe the other one."""
    length: int | None = None
    chunked = False
    connection: list[str] = []
    for name, value in fields:
        if name in _LENGTHS:
            if length is not None or chunked:
                raise Malformed(_UNCLEAR)
            if name == "content-length":
                length = _parse_length(value)
            elif value.lower() == "chunked":
                chunked = True
            else:
                raise Malformed(_UNCLEAR)
        elif name == "connection":
            connection += [token.strip().lower() for token in value.split(",")]
    return Framing(length, chunked, tuple(connection))


def _parse_field(line: bytes) -> tuple[str, str]:
    match = _FIELD.fullmatch(line)
    if match is None:
        raise Malformed("a malformed header")
    return match[1].decode("ascii").lower(), match[2].strip(b" \t").decode("latin-1")


# Who speaks to us sends the same lines again and again.
_known_field = lru_cache(maxsize=512)(_parse_field)


def _parse_length(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _LENGTH_DIGITS):
        raise Malformed(_UNCLEAR)
    return int(text)


class ChunkReader:
    """One body in chunks. Feed it what arrives; `done` tells its end, and `rest` what came after it."""

    __slots__ = ("_buffer", "_in_trailer", "_left", "_trailer_size", "done", "rest")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self._buffer = b""
        # Of the current chunk with its line end.
        self._left = 0
        self._in_trailer = False
        # Without the line that is not whole yet.
        self._trailer_size = 0

    def feed(self, content: bytes) -> bytes:
        """The bytes of the body that `content` completes, joined: so many small chunks cost one write.

        Raises:
            Malformed: no chunks, or an endless trailer.
        """
        buffer = self._buffer + content if self._buffer else content
        parts: list[bytes] = []
        at = 0
        if not self._in_trailer:
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
                raise Malformed("a chunk of another length than announced")
            parts.append(buffer[at:stop])
            at = stop + 2
        if end - at > _LINE_LIMIT:
            raise Malformed("a chunk without a size")
        return at

    def _finish_chunk(self, buffer: bytes, parts: list[bytes]) -> int:
        """Takes what is there of a chunk that began before; how many bytes that were."""
        left = self._left
        part = buffer[: max(0, left - 2)]
        if part:
            parts.append(part)
            left -= len(part)
        at = len(part)
        if 0 < left <= 2 and len(buffer) - at >= 2:  # its line end is never taken in halves
            if buffer[at : at + 2] != b"\r\n":
                raise Malformed("a chunk of another length than announced")
            at += 2
            left = 0
        self._left = left
        return at

    def _skip_trailer(self) -> None:
        at = 0
        room = HEAD_LIMIT - self._trailer_size
        while (line_end := self._buffer.find(b"\r\n", at, room)) >= 0:
            line = self._buffer[at:line_end]
            at = line_end + 2
            if not line:
                self.done = True
                self.rest, self._buffer = self._buffer[at:], b""
                return
            if _parse_field(line)[0] in _LENGTHS:
                raise Malformed("a length behind its body")
        self._trailer_size += at
        self._buffer = self._buffer[at:]
        if len(self._buffer) > min(_LINE_LIMIT, room - at):
            raise Malformed("an endless trailer")


@lru_cache(maxsize=4096)
def _parse_chunk_size(line: bytes) -> int:
    match = _CHUNK_SIZE.fullmatch(line) if len(line) < _LINE_LIMIT else None
    if match is None:
        raise Malformed("a chunk without a size")
    return int(match[1], 16)

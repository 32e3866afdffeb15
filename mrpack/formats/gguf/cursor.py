"""A position in untrusted content that moves only over bytes that are there."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from mrpack.errors import InvalidArtifact

ReadAt = Callable[[int, int], bytes]
"""At most `count` bytes from `offset` on, as `os.pread` gives them."""

# Far above any chat template; llama.cpp's own limit is 1 GiB.
STRING_LIMIT: Final = 16 * 1024 * 1024
# Strings that are kept, all together.
TEXT_LIMIT: Final = 32 * 1024 * 1024
# Strings that are stepped over, all together: a million takes 0.1 s, large vocabularies have half of that.
STRINGS_LIMIT: Final = 8_000_000

_WINDOW: Final = 256 * 1024
_U64 = Struct("<Q")


class Cursor:
    """Reads forward through a small window; what is skipped is never read.

    Every method raises InvalidArtifact, with `what` in its text, when the content ends first.
    """

    def __init__(self, read_at: ReadAt, size: int, where: str) -> None:
        self._read_at = read_at
        self._where = where
        self._window = b""
        self._start = 0
        # Lies behind the window after a skip.
        self._at = 0
        self._text_left = TEXT_LIMIT
        self._strings_left = STRINGS_LIMIT
        self.size = size

    @property
    def position(self) -> int:
        return self._start + self._at

    @property
    def remaining(self) -> int:
        return self.size - self.position

    def error(self, message: str) -> InvalidArtifact:
        return InvalidArtifact(message, where=self._where)

    def require(self, count: int, what: str) -> None:
        """Refuse a promise of `count` bytes before anything is done for it."""
        if count > self.remaining:
            raise self.error(f"{what}: needs {count} bytes, but the file has only {self.remaining} more")

    def take(self, count: int, what: str) -> bytes:
        if self._at + count > len(self._window):
            self._load(count, what)
        piece = self._window[self._at : self._at + count]
        self._at += count
        return piece

    def unpack(self, struct: Struct, what: str) -> Any:
        """The first field of `struct`."""
        if self._at + struct.size > len(self._window):
            self._load(struct.size, what)
        value = struct.unpack_from(self._window, self._at)[0]
        self._at += struct.size
        return value

    def string(self, limit: int, what: str) -> bytes:
        """The bytes behind a 64-bit length; at most `limit`, and TEXT_LIMIT for all calls together."""
        length: int = self.unpack(_U64, what)
        if length > limit:
            raise self.error(f"{what}: a string of {length} bytes; at most {limit} are allowed")
        self.require(length, what)
        self._text_left -= length
        if self._text_left < 0:
            raise self.error(f"{what}: more than {TEXT_LIMIT} bytes of text in one header")
        return self.take(length, what)

    def name(self, limit: int, what: str) -> str:
        """A string that other strings are compared with: not empty, and UTF-8."""
        content = self.string(limit, what)
        if not content:
            raise self.error(f"{what}: has no name")
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise self.error(f"{what}: has a name that is not UTF-8: {content[:40]!r}") from None

    def skip(self, count: int, what: str) -> None:
        self.require(count, what)
        self._at += count

    def skip_strings(self, count: int, what: str) -> None:
        """Step over `count` strings behind their 64-bit lengths; STRINGS_LIMIT for all calls together."""
        self.require(count * _U64.size, what)
        self._strings_left -= count
        if self._strings_left < 0:
            raise self.error(f"{what}: more than {STRINGS_LIMIT} strings in the arrays of one header")
        unpack = _U64.unpack_from
        while count:
            window, at, last = self._window, self._at, len(self._window) - _U64.size
            length = 0
            while count and at <= last:
                length = unpack(window, at)[0]
                at += 8 + length
                count -= 1
            # All but the last string ended inside the window.
            if length > STRING_LIMIT:
                raise self.error(f"{what}: a string of {length} bytes; at most {STRING_LIMIT} are allowed")
            self._at = at
            self.require(count * _U64.size, what)
            if count:
                self._load(_U64.size, what)

    def _load(self, count: int, what: str) -> None:
        """Move the window: it starts here and holds at least `count` bytes."""
        self.require(count, what)
        start = self.position
        window = self._read_at(start, min(max(count, _WINDOW), self.size - start))
        if len(window) < count:
            raise self.error("became shorter while it was read")
        self._window, self._start, self._at = window, start, 0

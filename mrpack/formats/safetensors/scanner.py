"""A scanner for the two kinds of JSON that Safetensors consist of, in which memory follows what is kept.

A general parser would build whatever the text asks for: twenty times its size in lists of nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from re import Match, Pattern
from typing import Any, Final

from mrpack.errors import InvalidArtifact

# Names, keys and texts of one document, all together: an index of 140,000 tensors has 10 MiB.
TEXT_LIMIT: Final = 32 * 1024 * 1024
# Of values whose content nobody asks for; the `metadata` of an index has some hundred bytes.
OTHER_VALUE_LIMIT: Final = 64 * 1024

_SPACE: Final = rb"[ \t\n\r]*+"
# Escapes and UTF-8 are checked when the string is decoded.
STRING: Final = rb'"([^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+)"'
# No pattern backtracks: time is linear whatever the text.
_KEY: Final = re.compile(_SPACE + STRING + _SPACE + b":" + _SPACE, re.DOTALL)
_PAIR: Final = re.compile(
    STRING + _SPACE + b":" + _SPACE + STRING + _SPACE + b"(?:," + _SPACE + rb'(?=")|(?=\}))', re.DOTALL
)
_OPEN: Final = re.compile(rb"\{" + _SPACE)
_CLOSE: Final = re.compile(rb"\}" + _SPACE)
_MORE: Final = re.compile(b"," + _SPACE)
_NULL: Final = re.compile(b"null" + _SPACE)
_DECODER: Final = json.JSONDecoder()


class Scanner:
    """Reads forward through `content`; every method raises InvalidArtifact, with `what` in its text."""

    def __init__(self, content: bytes, where: str) -> None:
        self._content = content
        self._where = where
        self._at = 0
        self._text_left = TEXT_LIMIT

    def error(self, message: str) -> InvalidArtifact:
        return InvalidArtifact(message, where=self._where)

    def find(self, pattern: Pattern[bytes]) -> Match[bytes] | None:
        """The match at this position, and behind it from now on."""
        match = pattern.match(self._content, self._at)
        if match:
            self._at = match.end()
        return match

    def keys(self, what: str) -> Iterator[str]:
        """The keys of an object; between two of them, the caller reads the value."""
        if not self.find(_OPEN):
            raise self.error(f"{what}: not an object")
        if self.find(_CLOSE):
            return
        while True:
            match = self.find(_KEY)
            if match is None:
                raise self.error(f"{what}: not JSON at byte {self._at}: {self._excerpt()}")
            yield self._decode(match[1], what)
            if self.find(_CLOSE):
                return
            if not self.find(_MORE):
                raise self.error(f"{what}: not JSON at byte {self._at}: {self._excerpt()}")

    def texts(self, what: str, *, limit: int) -> dict[str, str]:
        """An object of at most `limit` strings; null counts as empty, as the safetensors library takes it."""
        texts: dict[str, str] = {}
        if self.find(_NULL):
            return texts
        if not self.find(_OPEN):
            raise self.error(f"{what}: not an object")
        while match := self.find(_PAIR):
            key = self._decode(match[1], what)
            if key in texts:
                raise self.error(f"{what}: {key[:80]!r} occurs twice")
            if len(texts) == limit:
                raise self.error(f"{what}: more than {limit} keys")
            texts[key] = self._decode(match[2], what)
        if not self.find(_CLOSE):
            raise self.error(f"{what}: not an object of strings at byte {self._at}: {self._excerpt()}")
        return texts

    def other_value(self, what: str) -> Any:
        """Any JSON value of at most OTHER_VALUE_LIMIT bytes."""
        piece = self._content[self._at : self._at + OTHER_VALUE_LIMIT].decode(errors="surrogateescape")
        try:
            value, length = _DECODER.raw_decode(piece)
        except (ValueError, RecursionError):
            raise self.error(f"{what}: not JSON, or longer than {OTHER_VALUE_LIMIT} bytes") from None
        self._at += len(piece[:length].encode(errors="surrogateescape"))
        self.find(_SPACES)
        return value

    def finish(self, what: str) -> None:
        """Refuse anything but white space behind this position."""
        self.find(_SPACES)
        if self._at != len(self._content):
            raise self.error(f"{what}: something follows at byte {self._at}: {self._excerpt()}")

    def _excerpt(self) -> str:
        return repr(self._content[self._at : self._at + 24]) if self._at < len(self._content) else "its end"

    def _decode(self, raw: bytes, what: str) -> str:
        self._text_left -= len(raw)
        if self._text_left < 0:
            raise self.error(f"{what}: more than {TEXT_LIMIT} bytes of text")
        try:
            text = raw.decode()
            if "\\" in text:
                text = json.loads(f'"{text}"')
                # A lone surrogate is no character.
                text.encode()
        except ValueError:
            raise self.error(f"{what}: has a string that is not text: {raw[:40]!r}") from None
        return text


_SPACES: Final = re.compile(_SPACE)

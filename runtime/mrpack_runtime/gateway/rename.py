"""The `model` of an engine's answer becomes the public name, in passing."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Final

# In JSON text this is always a key: inside a string its quotes would be escaped. That the pattern begins with
# a literal makes the search several times faster.
_MODEL = re.compile(rb'"model"(\s*:\s*)"(?:[^"\\]|\\.)*"')
_KEY: Final = b'"model"'
# A name is never longer; what does not end within it is passed on as it is.
_HOLD_LIMIT: Final = 4096


def renaming(public_name: str) -> bytes:
    """The replacement to hand to `rename`; made once for many."""
    return rb'"model"\g<1>' + json.dumps(public_name).encode().replace(b"\\", rb"\\")


def rename(content: bytes, replacement: bytes) -> bytes:
    """`content` must not end in the middle of a `model`; a whole document or whole lines do not."""
    return _MODEL.sub(replacement, content)


class LearningRenamer:
    """The same for all that engines say of one model, in whole lines or documents.

    They write the name in the same way every time: learned once, it is replaced as plain bytes, which is ten
    times as fast.
    """

    __slots__ = ("_ours", "_replacement", "_theirs")

    def __init__(self, public_name: str) -> None:
        self._replacement = renaming(public_name)
        self._theirs = b""
        self._ours = b""

    def __call__(self, content: bytes) -> bytes:
        count = content.count(_KEY)
        if not count:
            return content
        if not (self._theirs and content.count(self._theirs) == count):
            match = _MODEL.search(content)
            if match is None:
                return content
            self._theirs, self._ours = match[0], match.expand(self._replacement)
            if content.count(self._theirs) != count:
                return rename(content, self._replacement)
        return content if self._theirs == self._ours else content.replace(self._theirs, self._ours)


@lru_cache(maxsize=256)
def renamer_for(inner_name: str, public_name: str) -> LearningRenamer:
    """One for each pair of names: what an engine calls the model, and what clients do."""
    del inner_name
    return LearningRenamer(public_name)


class Renamer:
    """The same for a document in pieces: holds back the little that could be the start of a match."""

    __slots__ = ("_held", "_replacement")

    def __init__(self, public_name: str) -> None:
        self._replacement = renaming(public_name)
        self._held = b""

    def feed(self, content: bytes) -> bytes:
        content = self._held + content
        cut = self._safe_end(content)
        self._held = content[cut:]
        return rename(content[:cut], self._replacement)

    def end(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        return rename(held, self._replacement)

    @staticmethod
    def _safe_end(content: bytes) -> int:
        size = len(content)
        start = 0
        key = content.rfind(_KEY, max(0, size - _HOLD_LIMIT))
        if key >= 0:
            match = _MODEL.match(content, key)
            if match is None:
                return key
            start = match.end()
        for length in range(min(len(_KEY) - 1, size - start), 0, -1):
            if content.endswith(_KEY[:length]):
                return size - length
        return size

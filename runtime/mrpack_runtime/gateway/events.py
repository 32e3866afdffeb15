"""Filters for server-sent events: whole lines, the public model name, and the proper end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, Protocol

from mrpack_runtime.http1 import BrokenAnswer, EarlyEnd
from mrpack_runtime.quirks import Exchange

# A line that is longer, such as an image in base64, is passed on in pieces.
_LINE_LIMIT: Final = 1024 * 1024
_TAIL: Final = 64
_DONE: Final = b"[DONE]"


class EventFilter(Protocol):
    def feed(self, content: bytes) -> bytes:
        """What to send on after `content`, a piece of the engine's stream of any size."""
        ...

    def end(self) -> bytes:
        """The rest, once the engine has ended its stream.

        Raises:
            EarlyEnd: it ended too early.
        """
        ...


class PassEvents:
    """Passes events as they are, but for what `rename` does to whole lines. `mark` begins the last one."""

    __slots__ = ("_held", "_mark", "_rename", "_tail")

    def __init__(self, rename: Callable[[bytes], bytes], mark: bytes) -> None:
        self._rename = rename
        self._mark = mark
        self._held = b""
        self._tail = b""

    def feed(self, content: bytes) -> bytes:
        if self._held:
            content = self._held + content
            self._held = b""
        if not content.endswith(b"\n"):
            cut = content.rfind(b"\n") + 1
            if not cut and len(content) > _LINE_LIMIT:
                cut = len(content)
            self._held = content[cut:]
            content = content[:cut]
        content = self._rename(content)
        self._tail = (self._tail + content[-_TAIL:])[-_TAIL:]
        return content

    def end(self) -> bytes:
        rest = b""
        if self._held:
            rest = self.feed(b"\n") + b"\n"
        if self._mark not in self._tail:
            raise EarlyEnd("the engine ended its answer too early")
        return rest


class QuirkyEvents:
    """Sends every event through an exchange of the quirks layer."""

    __slots__ = ("_done", "_exchange", "_held", "_rename")

    def __init__(self, rename: Callable[[bytes], bytes], exchange: Exchange) -> None:
        self._rename = rename
        self._exchange = exchange
        self._held = b""
        self._done = False

    def feed(self, content: bytes) -> bytes:
        *lines, self._held = (self._held + content).split(b"\n")
        return self._rename(b"".join(self._event(line) for line in lines))

    def end(self) -> bytes:
        rest = self.feed(b"\n")
        if not self._done:
            raise EarlyEnd("the engine ended its answer too early")
        return rest

    def _event(self, line: bytes) -> bytes:
        """What becomes of one line; only data lines count, as in every OpenAI stream."""
        field, colon, text = line.strip().partition(b":")
        if field != b"data" or not colon:
            return b""
        if text.strip() == _DONE:
            self._done = True
            return b"data: [DONE]\n\n"
        try:
            event: Any = json.loads(text)
        except ValueError:
            raise BrokenAnswer("the engine sent an event that is not JSON") from None
        if not isinstance(event, dict):
            raise BrokenAnswer("the engine sent an event that is not an object")
        return b"".join(b"data: %s\n\n" % json.dumps(out).encode() for out in self._exchange.chunk(event))

"""Filters for server-sent events: whole lines, the public model name, other protocols, and the proper end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from mrpack_runtime.protocols import Answering, Framing
from mrpack_runtime.quirks import Exchange
from mrpack_runtime.wire.http1 import BrokenAnswer, EarlyEnd

# A line that is longer, such as an image in base64, is passed on in pieces.
_LINE_LIMIT: Final = 1024 * 1024
_TAIL: Final = 64
_DONE: Final = b"[DONE]"
# llama-server's first event of a stream of several completions: clients would take it for an answer.
_NOTHING: Final = b"null"
_NOTHING_LINE: Final = b"data: null\n"


class EventFilter(Protocol):
    @property
    def content_type(self) -> str | None:
        """Of what is sent on; None: as the engine has it."""
        ...

    def feed(self, content: bytes) -> bytes:
        """What to send on after `content`, a piece of the engine's stream of any size."""
        ...

    def end(self) -> bytes:
        """The rest, once the engine has ended its stream.

        Raises:
            EarlyEnd: it ended too early.
        """
        ...

    def failed(self, error: dict[str, Any]) -> bytes:
        """What ends a stream that broke; `error` in OpenAI's words, without its envelope."""
        ...


class PassEvents:
    """Passes events as they are, but for what `rename` does to whole lines. `mark` begins the last one."""

    __slots__ = ("_held", "_mark", "_rename", "_tail")

    content_type = None

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
        content = self._rename(content).replace(_NOTHING_LINE, b"")
        self._tail = (self._tail + content[-_TAIL:])[-_TAIL:]
        return content

    def end(self) -> bytes:
        rest = b""
        if self._held:
            rest = self.feed(b"\n") + b"\n"
        if self._mark not in self._tail:
            raise EarlyEnd("the engine ended its answer too early")
        return rest

    def failed(self, error: dict[str, Any]) -> bytes:
        return _error_event(error)


class QuirkyEvents:
    """Sends every event through an exchange of the quirks layer."""

    __slots__ = ("_exchange", "_reader", "_rename")

    content_type = None

    def __init__(self, rename: Callable[[bytes], bytes], exchange: Exchange) -> None:
        self._rename = rename
        self._exchange = exchange
        self._reader = EventReader()

    def feed(self, content: bytes) -> bytes:
        was_done = self._reader.done
        events = [out for event in self._reader.feed(content) for out in self._exchange.chunk(event)]
        passed = self._rename(b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events))
        return passed + b"data: [DONE]\n\n" if self._reader.done and not was_done else passed

    def end(self) -> bytes:
        rest = self.feed(b"\n")
        self._reader.end()
        return rest

    def failed(self, error: dict[str, Any]) -> bytes:
        return _error_event(error)


class TranslatedEvents:
    """Gives the events of another protocol for the engine's, which pass its quirks first."""

    __slots__ = ("_answering", "_exchange", "_framing", "_reader")

    def __init__(self, answering: Answering, framing: Framing, exchange: Exchange | None) -> None:
        self._answering = answering
        self._framing = framing
        self._exchange = exchange
        self._reader = EventReader()

    @property
    def content_type(self) -> str:
        return self._framing.content_type

    def feed(self, content: bytes) -> bytes:
        """Raises BrokenAnswer, also when the engine says in an event what went wrong."""
        was_done = self._reader.done
        sent: list[dict[str, Any]] = []
        for event in self._reader.feed(content):
            if event.get("error"):
                raise BrokenAnswer(_reason(event["error"]))
            for passed in (event,) if self._exchange is None else self._exchange.chunk(event):
                sent += self._answering.chunk(passed)
        if not self._reader.done or was_done:
            return self._framed(sent)
        return self._framed([*sent, *self._answering.end()]) + self._framing.end

    def end(self) -> bytes:
        rest = self.feed(b"\n")
        self._reader.end()
        return rest

    def failed(self, error: dict[str, Any]) -> bytes:
        return self._framed(self._answering.failed(error))

    def _framed(self, events: Iterable[dict[str, Any]]) -> bytes:
        return b"".join(map(self._framing.encode, events))


class EventReader:
    """The objects in an engine's stream; only data lines count, as in every OpenAI stream."""

    __slots__ = ("_held", "done")

    def __init__(self) -> None:
        self._held = b""
        self.done = False

    def feed(self, content: bytes) -> list[dict[str, Any]]:
        """Those that `content` completes. Raises BrokenAnswer."""
        *lines, self._held = (self._held + content).split(b"\n")
        events = []
        for line in lines:
            field, colon, text = line.strip().partition(b":")
            if field != b"data" or not colon:
                continue
            if text.strip() == _DONE:
                self.done = True
            elif text.strip() != _NOTHING:
                events.append(_object(text))
        return events

    def end(self) -> None:
        """Raises EarlyEnd."""
        if not self.done:
            raise EarlyEnd("the engine ended its answer too early")


def _object(text: bytes) -> dict[str, Any]:
    try:
        event: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise BrokenAnswer("the engine sent an event that is not JSON") from None
    if not isinstance(event, dict):
        raise BrokenAnswer("the engine sent an event that is not an object")
    return event


def _reason(error: Any) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return f"the engine broke off: {message}"


def _error_event(error: dict[str, Any]) -> bytes:
    """The blank line before it ends whatever was cut off."""
    return b"\n\ndata: " + json.dumps({"error": error}).encode() + b"\n\n"

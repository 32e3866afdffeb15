"""Protocols: APIs other than OpenAI's chat, as pure steps in front of it.

The gateway drives one request (`Asked`) so:

1. A module of this package reads the client's body and gives an `Asked`: a request in OpenAI's words for
   `path`. Raises RequestRefused for what the API does not allow, Unsupported for what no engine has.
2. The engine that serves its model answers, through its quirks where it has some.
3. Without a stream the client gets `answering.answer(body)`; with one, each of the engine's events goes
   through `answering.chunk(event)`, then comes `answering.end()`, each object framed by `Asked.framing`.
4. An error before the answer has the shape of the route; one in the middle is `answering.failed(error)`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

JsonObject = dict[str, Any]
CHAT: Final = "/v1/chat/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Who answers: `model` as clients call it. Times in seconds of `clock`: asked, and ready to answer."""

    model: str
    asked_at: float
    ready_at: float
    clock: Callable[[], float]


class Answering(Protocol):
    """The answer to one request; keeps what the later events need to know. Does no I/O."""

    def answer(self, body: JsonObject) -> JsonObject:
        """The client's answer for the engine's whole one."""
        ...

    def chunk(self, event: JsonObject) -> tuple[JsonObject, ...]:
        """The events to send in place of this one; may be none."""
        ...

    def end(self) -> tuple[JsonObject, ...]:
        """The last events, after the engine's last."""
        ...

    def failed(self, error: JsonObject) -> tuple[JsonObject, ...]:
        """The last events when the engine broke off; `error` as OpenAI writes it, without its envelope."""
        ...


@dataclass(frozen=True, slots=True)
class Framing:
    """How a stream of objects becomes bytes; `end` comes behind the last."""

    content_type: str
    encode: Callable[[JsonObject], bytes]
    end: bytes = b""


def _named(event: JsonObject) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), json.dumps(event).encode())


def _data(event: JsonObject) -> bytes:
    return b"data: %s\n\n" % json.dumps(event).encode()


def _line(event: JsonObject) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


NAMED_EVENTS: Final = Framing("text/event-stream", _named)
"""Server-sent events that carry their `type` as the event's name, too."""
OPENAI_EVENTS: Final = Framing("text/event-stream", _data, b"data: [DONE]\n\n")
JSON_LINES: Final = Framing("application/x-ndjson", _line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request in OpenAI's words, for the engine's `path`; its `model` is filled in by the gateway.

    `ignored` names the client's fields that change nothing. What `body` has as `keep_alive` is the gateway's.
    """

    body: JsonObject
    answering: Callable[[Served], Answering]
    framing: Framing
    path: str = CHAT
    ignored: tuple[str, ...] = ()

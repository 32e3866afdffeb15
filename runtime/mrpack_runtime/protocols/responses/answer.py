"""An engine's chat answer as OpenAI's response: whole, or as its numbered events."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from mrpack_runtime.protocols import JsonObject, Served
from mrpack_runtime.protocols.chat import CallPiece, Piece, Usage, read_piece
from mrpack_runtime.protocols.logprobs import odds_of
from mrpack_runtime.protocols.responses.history import Turn

# What a response repeats of its request, with the value of a field that was left out.
_ECHOED: Final[dict[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}

# Why an answer is not complete, by the engine's word for it.
_CUT: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(slots=True)
class _Item:
    """An item of the output that is being said. `text`: of a message or of thoughts; arguments of a call.

    `odds`: how likely each token of a message was, where that was asked for.
    """

    kind: str
    index: int
    id: str
    call_id: str = ""
    name: str = ""
    text: str = ""
    odds: list[JsonObject] = field(default_factory=list)

    def to_json(self, status: str) -> JsonObject:
        match self.kind:
            case "message":
                return {
                    "id": self.id,
                    "type": "message",
                    "role": "assistant",
                    "status": status,
                    "content": [self.part()] if status != "in_progress" else [],
                }
            case "reasoning":
                content = [self.part()] if self.text else []
                return {
                    "id": self.id,
                    "type": "reasoning",
                    "status": status,
                    "summary": [],
                    "content": content,
                }
            case _:
                return {
                    "id": self.id,
                    "type": "function_call",
                    "status": status,
                    "call_id": self.call_id,
                    "name": self.name,
                    "arguments": self.text,
                }

    def part(self) -> JsonObject:
        if self.kind == "reasoning":
            return {"type": "reasoning_text", "text": self.text}
        return {"type": "output_text", "text": self.text, "annotations": [], "logprobs": list(self.odds)}


@dataclass(slots=True)
class ResponseAnswer:
    """One response to `asked`. It is given to `keep` before its last event, so that one can go on from it."""

    served: Served
    asked: JsonObject
    given: tuple[JsonObject, ...]
    before: Turn | None
    keep: Callable[[Turn], None] | None
    _id: str = field(default_factory=lambda: f"resp_{uuid.uuid4().hex}")
    _created: int = field(default_factory=lambda: int(time.time()))
    _items: list[_Item] = field(default_factory=list)
    _calls: dict[int, _Item] = field(default_factory=dict)
    _reason: str = ""
    _usage: Usage | None = None
    _sequence: int = 0
    _started: bool = False

    def answer(self, body: JsonObject) -> JsonObject:
        self._take(read_piece(body))
        return self._finish()

    def chunk(self, event: JsonObject) -> tuple[JsonObject, ...]:
        return (*self._start(), *self._take(read_piece(event)))

    def end(self) -> tuple[JsonObject, ...]:
        events = [*self._start(), *self._close()]
        response = self._finish()
        return (*events, self._event(f"response.{response['status']}", response=response))

    def failed(self, error: JsonObject) -> tuple[JsonObject, ...]:
        events = self._start()
        found = {"code": "server_error", "message": error["message"]}
        response = {**self._response("failed"), "error": found}
        return (*events, self._event("response.failed", response=response))

    def _start(self) -> list[JsonObject]:
        if self._started:
            return []
        self._started = True
        response = self._response("in_progress")
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
        ]

    def _take(self, piece: Piece) -> list[JsonObject]:
        events = []
        if piece.reasoning:
            events += self._say("reasoning", piece.reasoning)
        if piece.text or piece.refusal:
            events += self._say("message", piece.text or piece.refusal, piece.logprobs)
        for call in piece.calls:
            events += self._call(call)
        self._reason = piece.reason or self._reason
        self._usage = piece.usage or self._usage
        return events

    def _say(self, kind: str, text: str, logprobs: tuple[JsonObject, ...] = ()) -> list[JsonObject]:
        """Text of a message or of thoughts: goes on with the item that is open, or opens one."""
        events = []
        if not self._items or self._items[-1].kind != kind:
            events += self._close()
            item = self._add(kind, "msg" if kind == "message" else "rs")
            events.append(self._added(item))
            events.append(self._event("response.content_part.added", **self._place(item), part=item.part()))
        item = self._items[-1]
        item.text += text
        odds = [odds_of(row, alternatives=bool(self.asked.get("top_logprobs"))) for row in logprobs]
        item.odds += odds
        name = "response.output_text.delta" if kind == "message" else "response.reasoning_text.delta"
        extra: JsonObject = {"logprobs": odds} if kind == "message" else {}
        events.append(self._event(name, **self._place(item), delta=text, **extra))
        return events

    def _call(self, piece: CallPiece) -> list[JsonObject]:
        events = []
        item = self._calls.get(piece.index)
        if item is None:
            events += self._close()
            item = self._calls[piece.index] = self._add("function_call", "fc")
            item.call_id, item.name = piece.id or f"call_{uuid.uuid4().hex}", piece.name
            events.append(self._added(item))
        if piece.arguments:
            item.text += piece.arguments
            events.append(
                self._event(
                    "response.function_call_arguments.delta",
                    item_id=item.id,
                    output_index=item.index,
                    delta=piece.arguments,
                )
            )
        return events

    def _close(self) -> list[JsonObject]:
        """The events that end the last item."""
        if not self._items:
            return []
        item = self._items[-1]
        place = self._place(item)
        match item.kind:
            case "message":
                events = [
                    self._event("response.output_text.done", **place, text=item.text, logprobs=item.odds),
                    self._event("response.content_part.done", **place, part=item.part()),
                ]
            case "reasoning":
                events = [
                    self._event("response.reasoning_text.done", **place, text=item.text),
                    self._event("response.content_part.done", **place, part=item.part()),
                ]
            case _:
                events = [
                    self._event(
                        "response.function_call_arguments.done",
                        item_id=item.id,
                        output_index=item.index,
                        name=item.name,
                        arguments=item.text,
                    )
                ]
        done = self._event(
            "response.output_item.done", output_index=item.index, item=item.to_json(self._status(item))
        )
        return [*events, done]

    def _status(self, item: _Item) -> str:
        return "incomplete" if item is self._items[-1] and self._reason in _CUT else "completed"

    def _add(self, kind: str, prefix: str) -> _Item:
        item = _Item(kind, len(self._items), f"{prefix}_{uuid.uuid4().hex}")
        self._items.append(item)
        return item

    def _added(self, item: _Item) -> JsonObject:
        return self._event(
            "response.output_item.added", output_index=item.index, item=item.to_json("in_progress")
        )

    @staticmethod
    def _place(item: _Item) -> JsonObject:
        return {"item_id": item.id, "output_index": item.index, "content_index": 0}

    def _event(self, kind: str, **rest: Any) -> JsonObject:
        event = {"type": kind, "sequence_number": self._sequence, **rest}
        self._sequence += 1
        return event

    def _finish(self) -> JsonObject:
        cut = _CUT.get(self._reason)
        response = self._response("incomplete" if cut else "completed")
        if cut:
            response["incomplete_details"] = {"reason": cut}
        if self.keep is not None:
            size = len(json.dumps(response)) + len(json.dumps(self.given))
            self.keep(Turn(response=response, input=self.given, before=self.before, size=size))
        return response

    def _response(self, status: str) -> JsonObject:
        asked = {name: self.asked.get(name) for name in _ECHOED}
        echoed = {name: default if asked[name] is None else asked[name] for name, default in _ECHOED.items()}
        ended = status in {"completed", "incomplete"}
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": self.served.model,
            "output": [item.to_json(self._status(item)) for item in self._items] if ended else [],
            "usage": _usage(self._usage) if ended and self._usage is not None else None,
            **echoed,
        }


def _usage(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }

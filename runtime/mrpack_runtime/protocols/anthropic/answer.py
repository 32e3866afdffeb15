"""An engine's chat answer as Anthropic's message, whole or as its events; and errors in Anthropic's shape."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from mrpack_runtime.protocols import JsonObject
from mrpack_runtime.protocols.chat import Piece, Usage, read_piece, tool_calls

_STOP_REASONS: Final[Mapping[str, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
# By status, as Anthropic's clients make their exceptions of it.
_ERRORS: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


class MessageAnswer:
    """One message. `stop_sequences` are the client's: it is told which of them ended the answer, if any.

    `limit`: the most tokens that it wants. An answer that was cut before had no room in the context.
    """

    def __init__(self, model: str, stop_sequences: list[str], limit: int = 0) -> None:
        self._model = model
        self._stops = stop_sequences
        self._limit = limit
        self._id = f"msg_{uuid.uuid4().hex}"
        self._started = False
        self._block = -1
        self._kind: str | int | None = None  # of the block that is open; a number is a call's
        self._last = Piece()
        self._called = False
        self._usage = Usage()

    def answer(self, body: JsonObject) -> JsonObject:
        piece = read_piece(body)
        content: list[JsonObject] = []
        if piece.reasoning:
            content.append({"type": "thinking", "thinking": piece.reasoning, "signature": ""})
        if piece.text:
            content.append({"type": "text", "text": piece.text})
        content += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": call.object}
            for call in tool_calls(piece)
        ]
        usage = piece.usage or Usage()
        return {**self._message(content, usage), **self._stop(piece, usage, called=bool(piece.calls))}

    def chunk(self, event: JsonObject) -> tuple[JsonObject, ...]:
        piece = read_piece(event)
        self._usage = piece.usage or self._usage
        events: list[JsonObject] = []
        if not self._started:
            self._started = True
            events.append({"type": "message_start", "message": self._begin()})
        elif "prompt_progress" in event:
            events.append({"type": "ping"})
        if piece.reasoning:
            events += self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            events.append(self._delta({"type": "thinking_delta", "thinking": piece.reasoning}))
        if piece.text:
            events += self._open("text", {"type": "text", "text": ""})
            events.append(self._delta({"type": "text_delta", "text": piece.text}))
        for call in piece.calls:
            self._called = True
            block = {
                "type": "tool_use",
                "id": call.id or f"toolu_{uuid.uuid4().hex}",
                "name": call.name,
                "input": {},
            }
            events += self._open(call.index, block)
            if call.arguments:
                events.append(self._delta({"type": "input_json_delta", "partial_json": call.arguments}))
        if piece.reason:
            self._last = piece
        return tuple(events)

    def end(self) -> tuple[JsonObject, ...]:
        start = () if self._started else ({"type": "message_start", "message": self._begin()},)
        delta = {
            "type": "message_delta",
            "delta": self._stop(self._last, self._usage, called=self._called),
            "usage": _usage(self._usage),
        }
        return (*start, *self._close(), delta, {"type": "message_stop"})

    def failed(self, error: JsonObject) -> tuple[JsonObject, ...]:
        return ({"type": "error", "error": {"type": "api_error", "message": error["message"]}},)

    def _begin(self) -> JsonObject:
        """With the tokens of the prompt where the engine tells them at once; `message_delta` has all."""
        usage = replace(self._usage, completion=0)
        return {**self._message([], usage), "stop_reason": None, "stop_sequence": None}

    def _message(self, content: list[JsonObject], usage: Usage) -> JsonObject:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "usage": _usage(usage),
        }

    def _stop(self, piece: Piece, usage: Usage, *, called: bool) -> JsonObject:
        if piece.stop and piece.stop in self._stops:
            return {"stop_reason": "stop_sequence", "stop_sequence": piece.stop}
        reason = _STOP_REASONS.get(piece.reason, "end_turn")
        if reason == "max_tokens" and 0 < usage.completion < self._limit:
            reason = "model_context_window_exceeded"
        if called and reason == "end_turn":  # some engines end a call with "stop"
            reason = "tool_use"
        return {"stop_reason": reason, "stop_sequence": None}

    def _open(self, kind: str | int, block: JsonObject) -> list[JsonObject]:
        """The events between the block that is open and this one; none when it is the same."""
        if kind == self._kind:
            return []
        events = self._close()
        self._kind = kind
        self._block += 1
        return [*events, {"type": "content_block_start", "index": self._block, "content_block": block}]

    def _close(self) -> list[JsonObject]:
        if self._kind is None:
            return []
        self._kind = None
        return [{"type": "content_block_stop", "index": self._block}]

    def _delta(self, delta: JsonObject) -> JsonObject:
        return {"type": "content_block_delta", "index": self._block, "delta": delta}


def anthropic_error(status: int, error: JsonObject) -> JsonObject:
    """`error` as OpenAI writes it, without its envelope."""
    kind = _ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": error["message"]}}


def _usage(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.prompt - usage.cached,
        "output_tokens": usage.completion,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
    }

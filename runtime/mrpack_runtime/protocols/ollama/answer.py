"""An engine's answer as Ollama gives it, whole or line by line, with its counts and durations."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from mrpack_runtime.protocols import JsonObject, Served
from mrpack_runtime.protocols.chat import (
    CallPiece,
    Piece,
    ToolCall,
    Usage,
    read_piece,
    read_usage,
    tool_calls,
)
from mrpack_runtime.protocols.embeddings import shortened

_NS: Final = 1_000_000_000
_REASONS: Final = {"length": "length"}
# Of each token; the last are the others that could have been in its place.
_LOGPROBS: Final = ("token", "logprob", "bytes", "top_logprobs")


class ChatAnswer:
    """What a chat or a prompt gets. Calls of tools come whole, since Ollama sends no pieces of them.

    `alternatives`: whether those to each token were asked for.
    """

    _is_chat = True

    def __init__(self, served: Served, *, alternatives: bool = True) -> None:
        self._served = served
        self._of_token = _LOGPROBS if alternatives else _LOGPROBS[:-1]
        self._calls: dict[int, ToolCall] = {}
        self._last = Piece()
        self._usage = Usage()
        self._first_at: float | None = None

    def answer(self, body: JsonObject) -> JsonObject:
        piece = read_piece(body)
        self._take(piece)
        rest = {**self._statistics(), **self._logprobs(piece)}
        return self._line(said(piece.text, piece.reasoning, tool_calls(piece)), rest)

    def chunk(self, event: JsonObject) -> tuple[JsonObject, ...]:
        piece = read_piece(event)
        self._take(piece)
        for call in piece.calls:
            _add(self._calls, call)
        if not piece.text and not piece.reasoning:
            return ()
        rest = {"done": False, **self._logprobs(piece)}
        return (self._line(said(piece.text, piece.reasoning, []), rest),)

    def end(self) -> tuple[JsonObject, ...]:
        calls = list(self._calls.values())
        lines = []
        if calls:
            lines.append(self._line(said("", "", calls), {"done": False}))
        return (*lines, self._line(said("", "", []), self._statistics()))

    def failed(self, error: JsonObject) -> tuple[JsonObject, ...]:
        return (_error(error),)

    def _take(self, piece: Piece) -> None:
        if self._first_at is None and (piece.text or piece.reasoning or piece.calls):
            self._first_at = self._served.clock()
        if piece.reason:
            self._last = piece
        self._usage = piece.usage or self._usage
        if piece.timings:
            self._last = Piece(reason=self._last.reason, timings=piece.timings)

    def _logprobs(self, piece: Piece) -> JsonObject:
        rows = [{key: row[key] for key in self._of_token if key in row} for row in piece.logprobs]
        return {"logprobs": rows} if rows else {}

    def _statistics(self) -> JsonObject:
        """The engine's own times where it tells them, else ours around it."""
        served, now = self._served, self._served.clock()
        first = self._first_at or now
        timings = self._last.timings
        return {
            "done": True,
            "done_reason": _REASONS.get(self._last.reason, "stop"),
            "total_duration": _ns(now - served.asked_at),
            "load_duration": _ns(served.ready_at - served.asked_at),
            "prompt_eval_count": self._usage.prompt,
            "prompt_eval_duration": _measured(timings.get("prompt_ms"), first - served.ready_at),
            "eval_count": self._usage.completion,
            "eval_duration": _measured(timings.get("predicted_ms"), now - first),
        }

    def _line(self, message: JsonObject, rest: JsonObject) -> JsonObject:
        return line(self._served.model, message, rest, is_chat=self._is_chat)


class GenerateAnswer(ChatAnswer):
    _is_chat = False


class EmbedAnswer:
    """Vectors for texts; there are no streams of them."""

    def __init__(self, served: Served, dimensions: int | None = None) -> None:
        self._served = served
        self._dimensions = dimensions

    def answer(self, body: JsonObject) -> JsonObject:
        served, usage = self._served, read_usage(body) or Usage()
        if self._dimensions is not None:
            body = shortened(body, self._dimensions)
        return {
            "model": served.model,
            "embeddings": _vectors(body),
            "total_duration": _ns(served.clock() - served.asked_at),
            "load_duration": _ns(served.ready_at - served.asked_at),
            "prompt_eval_count": usage.prompt,
        }

    def chunk(self, event: JsonObject) -> tuple[JsonObject, ...]:
        return (event,)

    def end(self) -> tuple[JsonObject, ...]:
        return ()

    def failed(self, error: JsonObject) -> tuple[JsonObject, ...]:
        return (_error(error),)


class LegacyEmbedAnswer(EmbedAnswer):
    """Of `/api/embeddings`: one vector alone."""

    def answer(self, body: JsonObject) -> JsonObject:
        vectors = _vectors(body)
        return {"embedding": vectors[0] if vectors else []}


def line(model: str, message: JsonObject, rest: JsonObject, *, is_chat: bool) -> JsonObject:
    """One object of a stream, or the whole answer. A chat wraps what was said, a prompt's answer does not."""
    head: JsonObject = {"model": model, "created_at": _now()}
    if is_chat:
        return {**head, "message": {"role": "assistant", **message}, **rest}
    words = {"response": message.pop("content", "")}
    return {**head, **words, **message, **rest}


def said(text: str, thinking: str, calls: list[ToolCall]) -> JsonObject:
    message: JsonObject = {"content": text}
    if thinking:
        message["thinking"] = thinking
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "function": {"index": i, "name": call.name, "arguments": call.object}}
            for i, call in enumerate(calls)
        ]
    return message


def ollama_error(_status: int, error: JsonObject) -> JsonObject:
    """`error` as OpenAI writes it, without its envelope."""
    return _error(error)


def _error(error: JsonObject) -> JsonObject:
    return {"error": error["message"]}


def _add(calls: dict[int, ToolCall], piece: CallPiece) -> None:
    call = calls.setdefault(piece.index, ToolCall(piece.id or f"call_{piece.index}", "", ""))
    call.name += piece.name
    call.arguments += piece.arguments


def _vectors(body: JsonObject) -> list[Any]:
    rows = body.get("data")
    if not isinstance(rows, list):
        return []
    return [row.get("embedding") for row in rows if isinstance(row, dict)]


def _measured(milliseconds: Any, otherwise_s: float) -> int:
    return int(milliseconds * 1e6) if isinstance(milliseconds, int | float) else _ns(otherwise_s)


def _ns(seconds: float) -> int:
    return max(0, int(seconds * _NS))


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")

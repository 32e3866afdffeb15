"""Answers of engines in OpenAI's chat, whole and as streams, for translations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any


def chunk(delta: dict[str, Any], reason: str | None = None, **rest: Any) -> dict[str, Any]:
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "inner",
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason, **rest}],
    }


def call(index: int, arguments: str, call_id: str = "", name: str = "") -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": arguments} | ({"name": name} if name else {})
    return {"index": index, "function": function} | ({"id": call_id, "type": "function"} if call_id else {})


USAGE: dict[str, Any] = {
    **chunk({}),
    "choices": [],
    "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
}
TEXT_STREAM = [
    chunk({"role": "assistant", "content": None}),
    chunk({"content": "Hel"}),
    chunk({"content": "lo ü"}),
    chunk({}, "stop"),
    USAGE,
]
# Thoughts, a text, then two calls, the second without arguments to speak of.
TOOL_STREAM = [
    chunk({"role": "assistant", "content": None}),
    chunk({"reasoning_content": "hm"}),
    chunk({"content": "I "}),
    chunk({"content": "look"}),
    chunk({"tool_calls": [call(0, "", "call_a", "get_weather")]}),
    chunk({"tool_calls": [call(0, '{"city": ')]}),
    chunk({"tool_calls": [call(0, '"Bern"}')]}),
    chunk({"tool_calls": [call(1, "{}", "call_b", "get_time")]}),
    chunk({}, "tool_calls"),
    USAGE,
]


def whole(text: str, *, reasoning: str = "", reason: str = "stop", **choice: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if reasoning:
        message["reasoning_content"] = reasoning
    return {
        "id": "c1",
        "object": "chat.completion",
        "model": "inner",
        "choices": [{"index": 0, "message": message, "finish_reason": reason, **choice}],
        "usage": USAGE["usage"],
    }


def with_calls(*calls: dict[str, Any]) -> dict[str, Any]:
    answer = whole("", reason="tool_calls")
    answer["choices"][0]["message"]["tool_calls"] = [
        {key: value for key, value in item.items() if key != "index"} for item in calls
    ]
    return answer


def as_sse(events: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"


def pieces(content: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    """`content` cut at these places."""
    start = 0
    for cut in sorted({min(cut, len(content)) for cut in cuts}):
        yield content[start:cut]
        start = cut
    yield content[start:]

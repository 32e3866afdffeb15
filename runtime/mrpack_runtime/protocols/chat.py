"""What an engine says in OpenAI's words, read into values: messages, pieces of them, and token counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mrpack_runtime.protocols import JsonObject
from mrpack_runtime.protocols.refusal import RequestRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens; `cached` are those of the prompt that had not to be read again, `reasoning` of the answer's."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0


@dataclass(slots=True)
class ToolCall:
    """A call of a function; `arguments` as the text that the model wrote."""

    id: str
    name: str
    arguments: str

    @property
    def object(self) -> JsonObject:
        """The arguments; empty when the model wrote something else than an object."""
        try:
            found = json.loads(self.arguments)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPiece:
    """A piece of the call number `index`; `id` and `name` come with its first."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one event adds; `reason` is why the answer ended, empty until it has."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[CallPiece, ...] = ()
    reason: str = ""
    stop: str = ""
    usage: Usage | None = None
    timings: JsonObject = field(default_factory=dict)
    logprobs: tuple[JsonObject, ...] = ()


def read_piece(event: JsonObject) -> Piece:
    """Of a stream's event or of a whole answer, of a chat or of a completion; what is malformed is left out.

    `stop` is the stop sequence that ended the answer, which some engines tell.
    """
    choices = event.get("choices")
    choice = _object(choices[0]) if isinstance(choices, list) and choices else {}
    said = _object(choice.get("delta") or choice.get("message"))
    calls = said.get("tool_calls")
    logprobs = _object(choice.get("logprobs")).get("content")
    return Piece(
        text=_text(said.get("content")) or _text(choice.get("text")),
        reasoning=_text(said.get("reasoning_content")) or _text(said.get("reasoning")),
        refusal=_text(said.get("refusal")),
        calls=tuple(_call(call, i) for i, call in enumerate(calls)) if isinstance(calls, list) else (),
        reason=_text(choice.get("finish_reason")),
        stop=_text(choice.get("stop_reason")),
        usage=read_usage(event),
        timings=_object(event.get("timings")),
        logprobs=tuple(map(_object, logprobs)) if isinstance(logprobs, list) else (),
    )


def read_usage(event: JsonObject) -> Usage | None:
    found = event.get("usage")
    if not isinstance(found, dict):
        return _read_progress(event)
    return Usage(
        prompt=_count(found.get("prompt_tokens")),
        completion=_count(found.get("completion_tokens")),
        cached=_count(_object(found.get("prompt_tokens_details")).get("cached_tokens")),
        reasoning=_count(_object(found.get("completion_tokens_details")).get("reasoning_tokens")),
    )


def _read_progress(event: JsonObject) -> Usage | None:
    """llama-server's `prompt_progress`, which comes before the first token when a request asks for it."""
    found = event.get("prompt_progress")
    if not isinstance(found, dict):
        return None
    return Usage(prompt=_count(found.get("total")), cached=_count(found.get("cache")))


def tool_calls(piece: Piece) -> list[ToolCall]:
    """Of a whole answer."""
    return [ToolCall(call.id or f"call_{i}", call.name, call.arguments) for i, call in enumerate(piece.calls)]


# What makes an engine tell the prompt's tokens in its first events, before any text: llama-server's word and
# vLLM's. The count costs neither a request nor time, and others overlook both.
EARLY_USAGE: Final[Mapping[str, Any]] = {
    "stream": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    "return_progress": True,
}


def function_tool(name: str, description: Any, parameters: Any, *, strict: Any = None) -> JsonObject:
    """A function as OpenAI's chat lists it; what is None is left out."""
    given = {"name": name, "description": description, "parameters": parameters, "strict": strict}
    return {"type": "function", "function": {key: value for key, value in given.items() if value is not None}}


def function_call(call_id: str, name: str, arguments: str) -> JsonObject:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def only_tool(tools: list[JsonObject], name: str) -> JsonObject:
    """That this function is called, and once: llama-server takes its name for no choice at all.

    vLLM's own way with a name is no other but for its `finish_reason`, which then is `stop`: for those who
    look for `tool_calls` it would seem that nothing was called. Raises RequestRefused.
    """
    chosen = [tool for tool in tools if tool["function"]["name"] == name]
    if not chosen:
        raise RequestRefused(f"there is no tool {name[:60]!r}", param="tool_choice")
    return {"tools": chosen, "tool_choice": "required", "parallel_tool_calls": False}


def schema_format(name: str, schema: Any, *, strict: Any = True) -> JsonObject:
    """`response_format` for answers that follow a JSON schema."""
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": strict}}


def _call(value: Any, position: int) -> CallPiece:
    call = _object(value)
    function = _object(call.get("function"))
    arguments = function.get("arguments")
    index = call.get("index")
    return CallPiece(
        index=index if isinstance(index, int) else position,
        id=_text(call.get("id")),
        name=_text(function.get("name")),
        arguments=arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments else "",
    )


def _object(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0

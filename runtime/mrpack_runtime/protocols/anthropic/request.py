"""A request for a message, as Anthropic's clients write it, in OpenAI's words.

Source: Anthropic's Messages API, version 2023-06-01.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack_runtime.protocols import NAMED_EVENTS, Asked, JsonObject
from mrpack_runtime.protocols.anthropic.answer import MessageAnswer
from mrpack_runtime.protocols.anthropic.blocks import to_part, unknown
from mrpack_runtime.protocols.chat import EARLY_USAGE, function_call, function_tool, only_tool, schema_format
from mrpack_runtime.protocols.fields import (
    as_object,
    as_objects,
    as_switch,
    as_text,
    as_texts,
    as_whole,
    as_word,
)
from mrpack_runtime.protocols.refusal import RequestRefused

# All that neither list names goes to the engine as it is.
_TRANSLATED: Final = frozenset(
    {"model", "messages", "system", "max_tokens", "stop_sequences", "tools", "tool_choice", "thinking"}
    | {"output_config", "output_format"}
)
# Marks for caching: engines keep what they have read by themselves.
_CACHE: Final = "cache_control"
# About Anthropic's own service: who asks, where it is computed, what it costs.
_IGNORED: Final = frozenset(
    {"metadata", "service_tier", "container", "inference_geo", "context_management", "diagnostics"}
    | {"speed", "user_profile_id", "workspace_id", _CACHE}
)
# How Anthropic's own service offers tools to its models.
_TOOL_HINTS: Final = ("allowed_callers", "defer_loading", "eager_input_streaming", "input_examples")
_THINKING: Final = ("enabled", "adaptive", "disabled")
_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_TOOL_CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "any": "required", "none": "none"}


def parse_message_request(body: JsonObject) -> Asked:
    """Raises RequestRefused and Unsupported."""
    stop = as_texts(body.get("stop_sequences") or [], "stop_sequences")
    if not all(stop):
        raise RequestRefused("stop_sequences must not be empty", param="stop_sequences")
    chat = parse_prompt(body)
    limit = chat["max_tokens"] = as_whole(body.get("max_tokens"), "max_tokens", least=1)
    if stop:
        chat["stop"] = stop
    if body.get("stream") is not None and as_switch(body["stream"], "stream"):
        chat |= EARLY_USAGE
    return Asked(
        body=chat,
        answering=lambda served: MessageAnswer(served.model, stop, limit),
        framing=NAMED_EVENTS,
        ignored=_ignored(body),
    )


def parse_prompt(body: JsonObject) -> JsonObject:
    """All that makes the prompt: messages, tools, and how to think; the same for counting tokens."""
    if body.get("mcp_servers"):
        raise Unsupported("mcp_servers: no server of tools is asked from here", hint="call tools yourself")
    chat = {name: value for name, value in body.items() if name not in _TRANSLATED | _IGNORED}
    messages = as_objects(body.get("messages"), "messages")
    if not messages:
        raise RequestRefused("messages: at least one is needed", param="messages")
    chat["messages"] = _system(body.get("system"))
    for i, message in enumerate(messages):
        chat["messages"] += _message(message, f"messages[{i}]")
    if body.get("tools"):
        tools = as_objects(body["tools"], "tools")
        chat["tools"] = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]
    if body.get("tool_choice") is not None:
        choice = as_object(body["tool_choice"], "tool_choice")
        chat |= _tool_choice(choice, chat.get("tools", []))
    chat |= _thinking(body)
    if wanted := _output_format(body):
        chat["response_format"] = wanted
    return chat


def _thinking(body: JsonObject) -> JsonObject:
    """Whether to think, and how much: `budget_tokens` as llama-server takes it, `effort` as all do."""
    chat: JsonObject = {}
    if body.get("thinking") is not None:
        thinking = as_object(body["thinking"], "thinking")
        kind = as_word(thinking.get("type"), "thinking.type", _THINKING)
        chat["chat_template_kwargs"] = {"enable_thinking": kind != "disabled"}
        if thinking.get("budget_tokens") is not None:
            budget = as_whole(thinking["budget_tokens"], "thinking.budget_tokens", least=0)
            chat["thinking_budget_tokens"] = budget
    config = as_object(body.get("output_config") or {}, "output_config")
    if config.get("effort") is not None:
        chat["reasoning_effort"] = as_word(config["effort"], "output_config.effort", _EFFORTS)
    return chat


def _ignored(body: JsonObject) -> tuple[str, ...]:
    """Their names; a mark for caching is one wherever it is, and so are citations that are asked for."""
    found = _IGNORED.intersection(body)
    for block in _blocks(body):
        found |= {name for name in (_CACHE, "citations") if block.get(name)}
    found |= {f"tools.{name}" for tool in body.get("tools") or () for name in _TOOL_HINTS if tool.get(name)}
    if (body.get("thinking") or {}).get("display"):
        found |= {"thinking.display"}
    return tuple(sorted(found))


def _blocks(body: JsonObject) -> Iterator[JsonObject]:
    """All that may have a mark: what is checked already is of the right kind."""
    lists = [body.get("system"), body.get("tools"), *(message["content"] for message in body["messages"])]
    for found in lists:
        for block in found if isinstance(found, list) else ():
            yield block
            inner = block.get("content")
            yield from (part for part in (inner if isinstance(inner, list) else ()) if isinstance(part, dict))


def _system(value: Any) -> list[JsonObject]:
    if not value:
        return []
    if isinstance(value, str):
        return [{"role": "system", "content": value}]
    texts = [as_text(block.get("text"), "system.text") for block in as_objects(value, "system")]
    return [{"role": "system", "content": "\n\n".join(texts)}]


def _message(message: JsonObject, where: str) -> list[JsonObject]:
    role = as_word(message.get("role"), f"{where}.role", ("user", "assistant", "system"))
    content = message.get("content")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    blocks = as_objects(content, f"{where}.content")
    if role == "assistant":
        return [_assistant(blocks, f"{where}.content")]
    return _user(blocks, role, f"{where}.content")


def _assistant(blocks: list[JsonObject], where: str) -> JsonObject:
    texts: list[str] = []
    thoughts: list[str] = []
    calls = []
    for i, block in enumerate(blocks):
        place = f"{where}[{i}]"
        match block.get("type"):
            case "text":
                texts.append(as_text(block.get("text"), f"{place}.text"))
            case "thinking":
                thoughts.append(as_text(block.get("thinking"), f"{place}.thinking"))
            case "redacted_thinking":
                pass
            case "tool_use":
                arguments = json.dumps(
                    as_object(block.get("input", {}), f"{place}.input"), ensure_ascii=False
                )
                name = as_text(block.get("name"), f"{place}.name")
                calls.append(function_call(as_text(block.get("id"), f"{place}.id"), name, arguments))
            case kind:
                raise unknown(kind, place)
    message: JsonObject = {"role": "assistant", "content": "".join(texts)}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _user(blocks: list[JsonObject], role: str, where: str) -> list[JsonObject]:
    """Results of tools are messages of their own and come first, as they have to."""
    results: list[JsonObject] = []
    parts: list[JsonObject] = []
    for i, block in enumerate(blocks):
        if block.get("type") == "tool_result":
            text, media = _tool_result(block, f"{where}[{i}]")
            call = as_text(block.get("tool_use_id"), f"{where}[{i}].tool_use_id")
            results.append({"role": "tool", "tool_call_id": call, "content": text})
            parts += media
        else:
            parts.append(to_part(block, f"{where}[{i}]"))
    if not parts:
        return results
    if all(part["type"] == "text" for part in parts):
        return [*results, {"role": role, "content": "\n".join(part["text"] for part in parts)}]
    return [*results, {"role": role, "content": parts}]


def _tool_result(block: JsonObject, where: str) -> tuple[str, list[JsonObject]]:
    """Its text, and its images, which no message of a tool may hold."""
    content = block.get("content", "")
    if isinstance(content, str):
        text, media = content, []
    else:
        parts = [to_part(part, f"{where}.content") for part in as_objects(content, f"{where}.content")]
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        media = [part for part in parts if part["type"] != "text"]
    return (f"Error: {text}" if block.get("is_error") is True else text), media


def _tool(tool: JsonObject, where: str) -> JsonObject:
    if tool.get("type") not in (None, "custom"):
        raise Unsupported(f"{where}: no tool of type {str(tool['type'])[:60]!r} runs here")
    name = as_text(tool.get("name"), f"{where}.name")
    schema = as_object(tool.get("input_schema"), f"{where}.input_schema")
    return function_tool(name, tool.get("description"), schema, strict=tool.get("strict"))


def _tool_choice(choice: JsonObject, tools: list[JsonObject]) -> JsonObject:
    kind = as_word(choice.get("type"), "tool_choice.type", (*_TOOL_CHOICES, "tool"))
    chat: JsonObject = {}
    if kind == "tool":
        chat |= only_tool(tools, as_text(choice.get("name"), "tool_choice.name"))
    else:
        chat["tool_choice"] = _TOOL_CHOICES[kind]
    if choice.get("disable_parallel_tool_use") is True:
        chat["parallel_tool_calls"] = False
    return chat


def _output_format(body: JsonObject) -> JsonObject | None:
    config = body.get("output_config")
    wanted = as_object(config, "output_config").get("format") if config is not None else None
    wanted = wanted or body.get("output_format")
    if wanted is None:
        return None
    wanted = as_object(wanted, "output_config.format")
    if wanted.get("type") != "json_schema":
        raise RequestRefused("the type must be json_schema", param="output_config.format.type")
    return schema_format("answer", as_object(wanted.get("schema"), "output_config.format.schema"))

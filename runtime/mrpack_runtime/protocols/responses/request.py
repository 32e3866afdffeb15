"""A request for a response, in the words of chat completions.

Source: OpenAI's API reference, `POST /responses`.
"""

from __future__ import annotations

from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack_runtime.protocols import NAMED_EVENTS, Asked, JsonObject
from mrpack_runtime.protocols.chat import function_call, function_tool, only_tool, schema_format
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
from mrpack_runtime.protocols.responses.answer import ResponseAnswer
from mrpack_runtime.protocols.responses.history import History

_TRANSLATED: Final = frozenset(
    {"model", "input", "instructions", "previous_response_id", "store", "tools", "tool_choice", "text"}
    | {"reasoning", "max_output_tokens", "max_tool_calls", "stream", "parallel_tool_calls", "top_logprobs"}
    | {"truncation", "background", "conversation", "prompt", "include"}
)
# Of `include`, what there is.
_ODDS: Final = "message.output_text.logprobs"
# About OpenAI's own service, or wishes that no engine can read.
_IGNORED: Final = frozenset(
    {"metadata", "user", "safety_identifier", "service_tier", "prompt_cache_key"}
    | {"prompt_cache_options", "prompt_cache_retention", "stream_options", "access_programs", "moderation"}
    | {"background_options", "context_management", "image"}
)
_IGNORED_PARTS: Final = (
    ("text", "verbosity"),
    *(("reasoning", name) for name in ("summary", "generate_summary", "context", "mode")),
)
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def parse_response_request(body: JsonObject, history: History) -> Asked:
    """With all that was said before, when the request goes on from a response that `history` knows.

    Raises RequestRefused and Unsupported.
    """
    _refuse_what_is_missing(body)
    previous = body.get("previous_response_id")
    before = history.get_previous(as_text(previous, "previous_response_id")) if previous is not None else None
    given = _input_items(body.get("input"))
    chat = {name: value for name, value in body.items() if name not in _TRANSLATED | _IGNORED}
    chat["messages"] = [
        *_instructions(body.get("instructions")),
        *to_messages([*(before.conversation() if before is not None else ()), *given]),
    ]
    if not chat["messages"]:
        raise RequestRefused("input: at least one item is needed", param="input")
    if body.get("max_output_tokens") is not None:
        chat["max_tokens"] = as_whole(body["max_output_tokens"], "max_output_tokens", least=1)
    chat |= _tools(body)
    if (wanted := _text_format(body)) is not None:
        chat["response_format"] = wanted
    chat |= _reasoning(body.get("reasoning"))
    chat |= _odds(body)
    if body.get("stream") is not None and as_switch(body["stream"], "stream"):
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    store = body.get("store") is None or as_switch(body["store"], "store")
    if body.get("metadata") is not None:
        as_object(body["metadata"], "metadata")
    return Asked(
        body=chat,
        answering=lambda served: ResponseAnswer(
            served, body, tuple(given), before, history.put if store else None
        ),
        framing=NAMED_EVENTS,
        ignored=_ignored(body),
    )


def _ignored(body: JsonObject) -> tuple[str, ...]:
    names = [name for name in (*_IGNORED, "max_tool_calls") if name != "metadata" and body.get(name)]
    names += ["include"] if set(_included(body)) - {_ODDS} else []
    names += [f"{group}.{name}" for group, name in _IGNORED_PARTS if (body.get(group) or {}).get(name)]
    return tuple(sorted(names))


def _refuse_what_is_missing(body: JsonObject) -> None:
    for name in ("conversation", "prompt"):
        if body.get(name) is not None:
            raise Unsupported(f"{name} is not kept here", hint="send input, and previous_response_id")
    if body.get("background"):
        raise Unsupported("background responses are not supported", hint="leave out background")
    if body.get("truncation") not in (None, "disabled"):
        raise Unsupported("truncation: input is never cut", hint="leave out truncation")


def _input_items(value: Any) -> list[JsonObject]:
    if value is None:
        raise RequestRefused("input is required", param="input")
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": value}]}]
    return [_typed(item) for item in as_objects(value, "input")]


def _typed(item: JsonObject) -> JsonObject:
    """Messages may come without their type."""
    return {"type": "message", **item} if "type" not in item and "role" in item else item


def to_messages(items: list[JsonObject]) -> list[JsonObject]:
    """A chat's messages of a response's items.

    Calls of one turn belong to one message of the assistant, with the text and the thoughts before them.
    """
    messages: list[JsonObject] = []
    for i, item in enumerate(items):
        where = f"input[{i}]"
        match item.get("type"):
            case "message":
                _add_message(messages, item, where)
            case "function_call":
                name, arguments = as_text(item.get("name"), f"{where}.name"), item.get("arguments", "")
                call = function_call(
                    as_text(item.get("call_id"), f"{where}.call_id"),
                    name,
                    as_text(arguments, f"{where}.arguments"),
                )
                _assistant(messages).setdefault("tool_calls", []).append(call)
            case "function_call_output":
                messages += _outcome(item, where)
            case "reasoning":
                if thoughts := _reasoning_text(item):
                    messages.append({"role": "assistant", "content": "", "reasoning_content": thoughts})
            case "item_reference":
                raise Unsupported(f"{where}: items are not kept alone", hint="use previous_response_id")
            case kind:
                raise Unsupported(f"{where}: items of type {str(kind)[:60]!r} are not understood")
    return messages


def _add_message(messages: list[JsonObject], item: JsonObject, where: str) -> None:
    role = as_word(item.get("role"), f"{where}.role", ("user", "assistant", "system", "developer"))
    content = _content(item.get("content"), f"{where}.content")
    last = messages[-1] if messages else {}
    if (
        role == "assistant"
        and last.get("reasoning_content")
        and not last["content"]
        and "tool_calls" not in last
    ):
        last["content"] = content
    else:
        messages.append({"role": "system" if role == "developer" else role, "content": content})


def _assistant(messages: list[JsonObject]) -> JsonObject:
    """The message of the assistant that is being said; a new one after any other."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": ""})
    return messages[-1]


def _content(value: Any, where: str) -> str | list[JsonObject]:
    if isinstance(value, str):
        return value
    parts = [_part(part, f"{where}[{i}]") for i, part in enumerate(as_objects(value, where))]
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _part(part: JsonObject, where: str) -> JsonObject:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": as_text(part.get("text"), f"{where}.text")}
        case "refusal":
            return {"type": "text", "text": as_text(part.get("refusal"), f"{where}.refusal")}
        case "input_image":
            if part.get("image_url") is None:
                raise Unsupported(
                    f"{where}: there are no uploaded files here", hint="send image_url as a data: URL"
                )
            url = as_text(part["image_url"], f"{where}.image_url")
            if not url.lower().startswith("data:"):
                raise RequestRefused(
                    "images must come in the request, as a data: URL; nothing is fetched",
                    param=f"{where}.image_url",
                )
            return {"type": "image_url", "image_url": {"url": url}}
        case "input_audio":
            return {
                "type": "input_audio",
                "input_audio": as_object(part.get("input_audio"), f"{where}.input_audio"),
            }
        case kind:
            raise Unsupported(f"{where}: content of type {str(kind)[:60]!r} is not understood")


def _outcome(item: JsonObject, where: str) -> list[JsonObject]:
    """Of a call: its text, and behind it its pictures, which no message of a tool may hold."""
    call_id, output = as_text(item.get("call_id"), f"{where}.call_id"), item.get("output")
    content = _content(output, f"{where}.output")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    media = [part for part in parts if part["type"] != "text"]
    message: JsonObject = {"role": "tool", "tool_call_id": call_id, "content": text}
    return [message, {"role": "user", "content": media}] if media else [message]


def _reasoning_text(item: JsonObject) -> str:
    for place in ("content", "summary"):
        parts = item.get(place)
        if isinstance(parts, list) and parts:
            return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))
    return ""


def _instructions(value: Any) -> list[JsonObject]:
    """They count for one response: those before had their own."""
    return [{"role": "system", "content": as_text(value, "instructions")}] if value else []


def _tools(body: JsonObject) -> JsonObject:
    chat: JsonObject = {}
    if body.get("tools"):
        chat["tools"] = []
        for i, tool in enumerate(as_objects(body["tools"], "tools")):
            if tool.get("type") != "function":
                raise Unsupported(f"tools[{i}]: no tool of type {str(tool.get('type'))[:60]!r} runs here")
            name = as_text(tool.get("name"), f"tools[{i}].name")
            chat["tools"].append(
                function_tool(
                    name, tool.get("description"), tool.get("parameters"), strict=tool.get("strict")
                )
            )
        if body.get("parallel_tool_calls") is not None:
            chat["parallel_tool_calls"] = body["parallel_tool_calls"]
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        chat |= _chosen(choice, chat.get("tools", []))
    elif choice is not None:
        chat["tool_choice"] = as_text(choice, "tool_choice")
    return chat


def _chosen(choice: JsonObject, tools: list[JsonObject]) -> JsonObject:
    """One function, or some of them, which chats have in a box of their own."""
    match choice.get("type"):
        case "function":
            return only_tool(tools, as_text(choice.get("name"), "tool_choice.name"))
        case "allowed_tools":
            names = [
                as_text(tool.get("name"), f"tool_choice.tools[{i}].name")
                for i, tool in enumerate(as_objects(choice.get("tools"), "tool_choice.tools"))
            ]
            allowed = [function_tool(name, None, None) for name in names]
            box = {"mode": choice.get("mode"), "tools": allowed}
            return {"tool_choice": {"type": "allowed_tools", "allowed_tools": box}}
        case _:
            raise Unsupported("tool_choice: only functions can be chosen")


def _text_format(body: JsonObject) -> JsonObject | None:
    text = body.get("text")
    wanted = as_object(text, "text").get("format") if text is not None else None
    if wanted is None:
        return None
    wanted = as_object(wanted, "text.format")
    match wanted.get("type"):
        case "text":
            return None
        case "json_object":
            return {"type": "json_object"}
        case "json_schema":
            schema = as_object(wanted.get("schema"), "text.format.schema")
            return schema_format(str(wanted.get("name") or "answer"), schema, strict=wanted.get("strict"))
        case _:
            raise RequestRefused(
                "text.format.type must be text, json_object or json_schema", param="text.format.type"
            )


def _reasoning(value: Any) -> JsonObject:
    effort = as_object(value, "reasoning").get("effort") if value is not None else None
    if effort is None:
        return {}
    as_word(effort, "reasoning.effort", _EFFORTS)
    return {"reasoning_effort": effort, "chat_template_kwargs": {"enable_thinking": effort != "none"}}


def _odds(body: JsonObject) -> JsonObject:
    """How likely each token is: for who wants it included, or asks for alternatives."""
    wanted = body.get("top_logprobs")
    count = as_whole(0 if wanted is None else wanted, "top_logprobs", least=0)
    if not count and _ODDS not in _included(body):
        return {}
    # llama-server has none without alternatives.
    return {"logprobs": True, "top_logprobs": max(count, 1)}


def _included(body: JsonObject) -> list[str]:
    return as_texts(body["include"], "include") if body.get("include") is not None else []

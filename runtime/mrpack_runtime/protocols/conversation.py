"""Messages and tools of OpenAI's chats: what they may hold, and what is done to them for engines."""

from __future__ import annotations

from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack_runtime.protocols import JsonObject
from mrpack_runtime.protocols.chat import only_tool
from mrpack_runtime.protocols.fields import as_object, as_objects, as_text
from mrpack_runtime.protocols.refusal import RequestRefused

# A bound of ours: 200,000 short ones got no answer within a minute.
_MESSAGES_LIMIT: Final = 8192
TOOL_CHOICES: Final = ("none", "auto", "required")
WITHOUT_TOOLS: Final = (None, "none", "auto")
# By type of a part of a message: where what it shows is.
_HELD: Final = {"image_url": "url", "input_audio": "data"}
# Of a message: texts, as far as they are there.
_MESSAGE_TEXTS: Final = ("name", "tool_call_id", "reasoning_content")


def _check_text(value: Any, name: str) -> None:
    """Of what may be absent."""
    if value is not None:
        as_text(value, name)


def check_messages(value: Any, name: str) -> None:
    messages = as_objects(value, name)
    if not messages:
        raise RequestRefused(f"{name}: at least one is needed", param=name)
    if len(messages) > _MESSAGES_LIMIT:
        raise RequestRefused(f"{name}: at most {_MESSAGES_LIMIT}", param=name)
    for i, message in enumerate(messages):
        as_text(message.get("role"), f"{name}[{i}].role")
        for text in _MESSAGE_TEXTS:
            _check_text(message.get(text), f"{name}[{i}].{text}")
        _check_content(message.get("content"), f"{name}[{i}].content")
        if message.get("tool_calls") is not None:
            _check_calls(message["tool_calls"], f"{name}[{i}].tool_calls")


def _check_content(value: Any, where: str) -> None:
    if value is None or isinstance(value, str):
        return
    for i, part in enumerate(as_objects(value, where)):
        place = f"{where}[{i}]"
        match as_text(part.get("type"), f"{place}.type"):
            case "text":
                as_text(part.get("text"), f"{place}.text")
            case "image_url" | "input_audio" as kind:
                held = as_object(part.get(kind), f"{place}.{kind}")
                as_text(held.get(_HELD[kind]), f"{place}.{kind}.{_HELD[kind]}")
            case "file":
                raise Unsupported(f"{place}: files are not read here", hint="send what they hold as text")
            case _:  # engines know more of them
                pass


def _check_calls(value: Any, where: str) -> None:
    """Of functions, in a message of the assistant."""
    for i, call in enumerate(as_objects(value, where)):
        _function_name(call, place := f"{where}[{i}]")
        if as_text(call.get("type"), f"{place}.type") != "function":
            raise Unsupported(f"{place}: only functions can be called")
        _check_text(call.get("id"), f"{place}.id")
        arguments = call["function"].get("arguments")
        if not isinstance(arguments, dict):  # which llama-server takes, too
            as_text(arguments, f"{place}.function.arguments")


def check_tools(value: Any, name: str) -> None:
    for i, tool in enumerate(as_objects(value, name)):
        if as_text(tool.get("type"), f"{name}[{i}].type") != "function":
            raise Unsupported(f"{name}[{i}]: only functions can be called")
        _function_name(tool, f"{name}[{i}]")
        _check_text(tool["function"].get("description"), f"{name}[{i}].function.description")
        if tool["function"].get("parameters") is not None:
            as_object(tool["function"]["parameters"], f"{name}[{i}].function.parameters")


def _function_name(value: JsonObject, where: str) -> str:
    function = as_object(value.get("function"), f"{where}.function")
    return as_text(function.get("name"), f"{where}.function.name")


TEXT: Final[JsonObject] = {"type": "string"}
OBJECT: Final[JsonObject] = {"type": "object"}


def holding(name: str, schema: JsonObject) -> JsonObject:
    return {"type": "object", "required": [name], "properties": {name: schema}}


# What parts of other types hold is checked, and not told: those who test by it would pay too much for it.
_CONTENT: Final[JsonObject] = {
    "type": "array",
    "items": {
        **holding("type", TEXT),
        "if": {"properties": {"type": {"const": "text"}}},
        "then": holding("text", TEXT),
    },
}
_FUNCTION: Final = holding("name", TEXT)
MESSAGES: Final[JsonObject] = {
    "type": "array",
    "minItems": 1,
    "maxItems": _MESSAGES_LIMIT,
    "items": {
        "type": "object",
        "required": ["role"],
        "properties": {"role": TEXT, "content": {"anyOf": [TEXT, {"type": "null"}, _CONTENT]}},
    },
}
TOOLS: Final[JsonObject] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["type", "function"],
        "properties": {
            "type": {"const": "function"},
            "function": {
                **_FUNCTION,
                "properties": {"name": TEXT, "parameters": {"type": ["object", "null"]}},
            },
        },
    },
}
CHOSEN_TOOLS: Final[JsonObject] = {
    "anyOf": [
        {
            "type": "object",
            "required": ["type", "function"],
            "properties": {"type": {"const": "function"}, "function": _FUNCTION},
        },
        {
            "type": "object",
            "required": ["type", "allowed_tools"],
            "properties": {
                "type": {"const": "allowed_tools"},
                "allowed_tools": {
                    "type": "object",
                    "required": ["mode", "tools"],
                    "properties": {"mode": {"enum": ["auto", "required"]}, "tools": {"type": "array"}},
                },
            },
        },
    ]
}
"""A choice that names some of the request's `tools`."""


def choose_tools(body: JsonObject) -> None:
    """Leaves the tools alone that `tool_choice` names: llama-server takes an object for no choice at all.

    Raises:
        RequestRefused: it names none, or one that is not there.
        Unsupported: tools that are no functions.
    """
    choice, tools = body.get("tool_choice"), body.get("tools")
    if not isinstance(choice, dict) or not tools:
        return
    check_tools(tools, "tools")
    match choice:
        case {"type": "function", "function": {"name": str(name)}}:
            body |= only_tool(tools, name)
        case {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto" | "required" as mode, "tools": [*allowed]},
        }:
            check_tools(allowed, "tool_choice.allowed_tools.tools")
            names = [tool["function"]["name"] for tool in allowed]
            chosen = [tool for name in names for tool in only_tool(tools, name)["tools"]]
            body |= {"tools": chosen, "tool_choice": mode if chosen else "none"}
        case {"type": "custom"}:
            raise Unsupported("tool_choice: only functions can be chosen")
        case _:
            raise RequestRefused("tool_choice must be a word, or name a function", param="tool_choice")


def leave_out_nulls(body: JsonObject) -> None:
    """In messages, calls and functions null says no more than nothing; llama-server fails at it."""
    messages = _objects(body.get("messages"))
    calls = [call for message in messages for call in _objects(message.get("tool_calls"))]
    functions = _objects([tool.get("function") for tool in _objects(body.get("tools"))])
    for part in (*messages, *calls, *functions):
        for name in [name for name, value in part.items() if value is None and name != "content"]:
            del part[name]


def _objects(value: Any) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []

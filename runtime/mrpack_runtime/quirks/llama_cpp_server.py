"""Quirks of `llama_cpp.server` (llama-cpp-python 0.3.36): llama-server's semantics in front of it.

It ignores `max_completion_tokens`, `n` and `stream_options`, fails at `json_schema`, at developer messages
and at texts in parts, has other defaults than llama-server, does not scale embeddings, and knows no rerank,
responses or messages.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mrpack.errors import Unsupported, UsageError

JsonObject = dict[str, Any]

# llama-server's, where llama_cpp.server has others: 1.1, and 16 tokens for completions.
_DEFAULTS: Final = {"repeat_penalty": 1.0, "max_tokens": None}
# Its word for llama-server's.
_NAMES: Final = {"mirostat": "mirostat_mode", "max_completion_tokens": "max_tokens"}


class LlamaCppServer:
    name = "llama_cpp_server"
    serial = True  # one lock around the model: a second request would wait in there, without an end in sight

    def begin(self, path: str, body: JsonObject) -> Generation | Embeddings | Tokens:
        match path:
            case "/v1/chat/completions":
                return Generation(path, _chat(body), _wants_usage(body))
            case "/v1/completions":
                return Generation(path, _completion(body), _wants_usage(body))
            case "/v1/embeddings":
                return Embeddings(path, _embeddings(body), body.get("encoding_format") == "base64")
            case "/tokenize":
                return Tokens("/extras/tokenize", {"input": body.get("content")}, "tokens")
            case "/detokenize":
                return Tokens("/extras/detokenize", {"tokens": body.get("tokens")}, "content")
            case _:
                raise Unsupported(
                    f"llama-cpp-python has no {path}",
                    hint="`pip install 'mrpack[llamacpp]'` brings an engine that has it",
                )


@dataclass(frozen=True, slots=True)
class Generation:
    """Chat or completion."""

    path: str
    body: JsonObject
    wants_usage: bool

    def answer(self, status: int, body: Any) -> tuple[int, JsonObject]:
        return _checked(status, body)

    def chunk(self, event: JsonObject) -> tuple[JsonObject, ...]:
        """The engine process counts tokens at the end of every stream: an event without choices."""
        return () if event.get("usage") and not self.wants_usage else (event,)


@dataclass(frozen=True, slots=True)
class Embeddings:
    path: str
    body: JsonObject
    base64: bool

    def answer(self, status: int, body: Any) -> tuple[int, JsonObject]:
        status, answer = _checked(status, body)
        if status != 200:
            return status, answer
        rows = answer.get("data")
        if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
            return _NOT_AN_ANSWER
        return status, {**answer, "data": [self._row(row) for row in rows]}

    def chunk(self, event: JsonObject) -> tuple[JsonObject, ...]:
        return (event,)

    def _row(self, row: JsonObject) -> JsonObject:
        """With length 1, as llama-server gives it."""
        vector = row["embedding"]
        length = math.sqrt(math.fsum(number * number for number in vector)) or 1.0
        scaled = [number / length for number in vector]
        if self.base64:
            packed = struct.pack(f"<{len(scaled)}f", *scaled)
            return {**row, "embedding": base64.b64encode(packed).decode()}
        return {**row, "embedding": scaled}


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of a text, or a text of tokens; `key`: llama-server's for what the answer holds."""

    path: str
    body: JsonObject
    key: str

    def answer(self, status: int, body: Any) -> tuple[int, JsonObject]:
        status, answer = _checked(status, body)
        return status, answer if status != 200 else {self.key: answer.get("tokens", answer.get("text"))}

    def chunk(self, event: JsonObject) -> tuple[JsonObject, ...]:
        return (event,)


def _chat(body: JsonObject) -> JsonObject:
    if body.get("logprobs"):
        raise Unsupported("llama-cpp-python gives no token probabilities here", hint="leave out logprobs")
    messages = body.get("messages")
    sent = _common(body)
    if isinstance(messages, list):
        sent["messages"] = [_message(message) for message in messages]
    if isinstance(sent.get("tools"), list):
        sent["tools"] = [_tool(tool) for tool in sent["tools"]]
    if sent.get("tool_choice") == "required":
        name = _only_function(sent.get("tools"))
        if name is None:
            raise Unsupported(
                "llama-cpp-python can insist on one function alone",
                hint="name it in tool_choice, or send one tool",
            )
        sent["tool_choice"] = {"type": "function", "function": {"name": name}}
    if isinstance(sent.get("response_format"), dict):
        sent["response_format"] = _response_format(sent["response_format"])
    return sent


def _completion(body: JsonObject) -> JsonObject:
    if body.get("logprobs") is not None:
        raise Unsupported("llama-cpp-python gives no token probabilities here", hint="leave out logprobs")
    prompt = body.get("prompt")
    if isinstance(prompt, list) and not (len(prompt) == 1 and isinstance(prompt[0], str)):
        raise Unsupported("llama-cpp-python takes one prompt as a text", hint="send one request a prompt")
    return _common(body)


def _common(body: JsonObject) -> JsonObject:
    if body.get("n") not in (None, 1) or body.get("best_of") not in (None, 1):
        raise Unsupported("llama-cpp-python gives one answer a request", hint="leave out n and best_of")
    # A field that is null is a field that was left out, which it does not know for all of them.
    given = {name: value for name, value in body.items() if value is not None and name != "stream_options"}
    for name, theirs in _NAMES.items():
        if name in given:
            given[theirs] = given.pop(name)
    return _DEFAULTS | given


def _tool(tool: Any) -> Any:
    """A function that takes nothing may leave out `parameters`, which it insists on."""
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or function.get("parameters") is not None:
        return tool
    return {**tool, "function": {**function, "parameters": {"type": "object", "properties": {}}}}


def _only_function(tools: Any) -> str | None:
    """Its name: that one has to be called it knows of one function alone, and by name."""
    tool = tools[0] if isinstance(tools, list) and len(tools) == 1 else None
    function = tool.get("function") if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _message(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    content, role = message.get("content"), message.get("role")
    if isinstance(content, list) and all(_is_text(part) for part in content):
        content = "\n".join(part["text"] for part in content)
    if content is None and role == "assistant":  # that called a function: it takes texts alone
        content = ""
    return {**message, "content": content, "role": "system" if role == "developer" else role}


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _response_format(wanted: Mapping[str, Any]) -> JsonObject:
    if wanted.get("type") != "json_schema":
        return dict(wanted)
    schema = wanted.get("json_schema")
    inner = schema.get("schema") if isinstance(schema, dict) else None
    if not isinstance(inner, dict):
        raise UsageError("response_format.json_schema.schema must be an object")
    return {"type": "json_object", "schema": inner}


def _embeddings(body: JsonObject) -> JsonObject:
    given = body.get("input")
    if isinstance(given, list) and not all(isinstance(text, str) for text in given):
        raise Unsupported("llama-cpp-python takes texts to embed, not tokens", hint="send texts")
    if given in ("", []):
        raise UsageError("input must not be empty")
    return {name: body[name] for name in ("model", "input") if name in body}


def _is_row(row: Any) -> bool:
    vector = row.get("embedding") if isinstance(row, dict) else None
    return isinstance(vector, list) and all(isinstance(number, int | float) for number in vector)


def _wants_usage(body: JsonObject) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _checked(status: int, body: Any) -> tuple[int, JsonObject]:
    """Whatever it answered as an OpenAI answer or error; FastAPI's own errors say `detail`."""
    if isinstance(body, dict) and ("error" in body) == (status >= 400):
        return status, body
    if status < 400:
        return _NOT_AN_ANSWER
    detail = body.get("detail") if isinstance(body, dict) else None
    return status, _error(str(detail or "the engine gave no reason"), "invalid_request_error")


def _error(message: str, kind: str) -> JsonObject:
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


_NOT_AN_ANSWER: Final = (502, _error("the engine's answer is not what it should be", "engine_failed"))

"""Requests of Ollama's clients in OpenAI's words.

Source: the API page of the documentation of Ollama 0.22.0, as which this is told (`catalogue.API_VERSION`).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack.model.overrides.kinds import is_whole
from mrpack_runtime.protocols import CHAT, JSON_LINES, Answering, Asked, JsonObject, Served
from mrpack_runtime.protocols.chat import function_call, schema_format
from mrpack_runtime.protocols.fields import (
    as_list,
    as_object,
    as_objects,
    as_switch,
    as_text,
    as_texts,
    as_whole,
)
from mrpack_runtime.protocols.keeping import FIELD as KEEP_ALIVE
from mrpack_runtime.protocols.ollama.answer import ChatAnswer, EmbedAnswer, GenerateAnswer, LegacyEmbedAnswer
from mrpack_runtime.protocols.openai import REPEATS_LIMIT
from mrpack_runtime.protocols.refusal import RequestRefused

_COMPLETION: Final = "/v1/completions"
_EMBEDDINGS: Final = "/v1/embeddings"
# Options of a request, as engines spell them; those of llama.cpp's sampling have its own names.
_OPTIONS: Final[Mapping[str, str]] = {
    "num_predict": "max_tokens",
    "num_keep": "n_keep",
    **{
        name: name
        for name in (
            *("temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "stop"),
            *("presence_penalty", "frequency_penalty", "repeat_penalty", "repeat_last_n"),
            *("mirostat", "mirostat_tau", "mirostat_eta"),
        )
    },
}
# The whole context, for which llama-server has no word.
_LOOK_BACK: Final = ("repeat_last_n", -1)
# What Ollama's own runner is started with: here the settings of the model say that (docs/overrides.md).
_LOADING: Final = frozenset(
    {"num_ctx", "num_batch", "num_gpu", "main_gpu", "low_vram", "vocab_only", "use_mmap", "use_mlock"}
    | {"num_thread", "numa", "f16_kv", "penalize_newline", "tfs_z", "num_gqa", "logits_all", "embedding_only"}
)
# The last three are of pictures that `/api/generate` paints.
_IGNORED: Final = frozenset({"template", "context", "truncate", "shift", "width", "height", "steps"})
_TRANSLATED: Final = frozenset(
    {"model", "name", "messages", "prompt", "system", "suffix", "raw", "images", "tools", "format", "think"}
    | {"options", "stream", "input", "dimensions"}
)
_LEVELS: Final = ("low", "medium", "high", "max")
# By their first bytes; engines look at the content, and the URL wants a type.
_IMAGES: Final[Mapping[bytes, str]] = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
    b"BM": "image/bmp",
}


def model_name(body: JsonObject) -> str:
    """`model`, or `name` as older clients write it."""
    name = body.get("model") or body.get("name")
    if not isinstance(name, str) or not name.strip():
        raise RequestRefused("model is required", param="model")
    return name


def is_load_only(body: JsonObject) -> bool:
    """Nothing is asked: the model is to be loaded, or with `keep_alive` 0 unloaded. Raises RequestRefused."""
    asked = [
        check(body[name], name)
        for name, check in (("messages", as_list), ("prompt", as_text), ("images", as_list))
        if body.get(name) is not None
    ]
    return not any(asked)


def wants_stream(body: JsonObject) -> bool:
    """Unless it is told not to."""
    stream = body.get("stream")
    return True if stream is None else as_switch(stream, "stream")


def parse_chat(body: JsonObject) -> Asked:
    chat, ignored = _generation(body)
    messages: list[JsonObject] = []
    pending: list[tuple[str, str]] = []
    for i, message in enumerate(as_objects(body.get("messages"), "messages")):
        messages.append(_message(message, f"messages[{i}]", pending, len(messages)))
    chat["messages"] = messages
    if body.get("tools"):
        chat["tools"] = as_objects(body["tools"], "tools")
    return Asked(
        body=chat,
        answering=partial(ChatAnswer, alternatives=bool(body.get("top_logprobs"))),
        framing=JSON_LINES,
        ignored=ignored,
    )


def parse_generate(body: JsonObject) -> Asked:
    """With `raw` the prompt goes to the model as it is, else it is one turn of a chat."""
    if body.get("suffix"):
        raise Unsupported("suffix: filling in the middle is not supported", hint="send the prompt with raw")
    chat, ignored = _generation(body)
    prompt = as_text(body.get("prompt", ""), "prompt")
    raw = as_switch(body.get("raw") or False, "raw")
    if raw:
        chat["prompt"] = prompt
        without = ("system", "images", "logprobs", "top_logprobs")
        ignored = (*ignored, *(name for name in without if body.get(name)))
        chat = {name: value for name, value in chat.items() if name not in without}
    else:
        system = as_text(body.get("system") or "", "system")
        chat["messages"] = [
            *([{"role": "system", "content": system}] if system else []),
            {"role": "user", "content": _with_images(prompt, body.get("images"), "images")},
        ]
    return Asked(
        path=_COMPLETION if raw else CHAT,
        body=chat,
        answering=partial(GenerateAnswer, alternatives=bool(body.get("top_logprobs"))),
        framing=JSON_LINES,
        ignored=ignored,
    )


def parse_embed(body: JsonObject) -> Asked:
    given: JsonObject = {"input": as_texts(body.get("input"), "input")}
    dimensions = body.get("dimensions")
    if dimensions is not None:
        given["dimensions"] = as_whole(dimensions, "dimensions", least=1)
    return _embedding(body, given, lambda served: EmbedAnswer(served, dimensions))


def parse_legacy_embed(body: JsonObject) -> Asked:
    return _embedding(body, {"input": [as_text(body.get("prompt"), "prompt")]}, LegacyEmbedAnswer)


def _generation(body: JsonObject) -> tuple[JsonObject, tuple[str, ...]]:
    """What chats and prompts have in common, and the names of what changes nothing."""
    chat = {name: value for name, value in body.items() if name not in _TRANSLATED | _IGNORED}
    options = as_object(body.get("options") or {}, "options")
    ignored = [name for name in sorted(_IGNORED) if body.get(name)]
    for name, value in options.items():
        if name in _LOADING:
            ignored.append(f"options.{name}")
        elif (name, value) == _LOOK_BACK:
            chat["repeat_last_n"] = REPEATS_LIMIT
        elif value is not None and not (name == "num_predict" and is_whole(value) and value <= 0):
            chat[_OPTIONS.get(name, name)] = value
    if wants_stream(body):
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    if body.get("logprobs") is True and body.get("top_logprobs") in (None, 0):
        chat["top_logprobs"] = 1  # llama-server has none without
    if body.get("format"):
        chat["response_format"] = _format(body["format"])
    think = body.get("think")
    if isinstance(think, bool) or think in _LEVELS:
        chat["chat_template_kwargs"] = {"enable_thinking": think is not False}
        if think in _LEVELS:
            chat["reasoning_effort"] = think
    elif think is not None:
        raise RequestRefused(f"think must be true, false, {', '.join(_LEVELS)}", param="think")
    return chat, tuple(ignored)


def _embedding(body: JsonObject, given: JsonObject, answering: Callable[[Served], Answering]) -> Asked:
    options = as_object(body.get("options") or {}, "options")
    ignored = [name for name in sorted(_IGNORED) if body.get(name)]
    return Asked(
        path=_EMBEDDINGS,
        body=given | {name: body[name] for name in (KEEP_ALIVE,) if name in body},
        answering=answering,
        framing=JSON_LINES,
        ignored=(*ignored, *(f"options.{name}" for name in options)),
    )


def _message(message: JsonObject, where: str, pending: list[tuple[str, str]], position: int) -> JsonObject:
    """`pending`: calls that wait for their result, by name and id; Ollama's have no id, or only sometimes."""
    role = as_text(message.get("role"), f"{where}.role")
    said = message.get("content")
    content = as_text("" if said is None else said, f"{where}.content")
    if role == "tool":
        return {"role": "tool", "tool_call_id": _answered(message, pending), "content": content}
    found: JsonObject = {
        "role": role,
        "content": _with_images(content, message.get("images"), f"{where}.images"),
    }
    if message.get("thinking"):
        found["reasoning_content"] = as_text(message["thinking"], f"{where}.thinking")
    if message.get("tool_calls"):
        pending.clear()
        found["tool_calls"] = []
        for i, call in enumerate(as_objects(message["tool_calls"], f"{where}.tool_calls")):
            function = as_object(call.get("function"), f"{where}.tool_calls[{i}].function")
            name = as_text(function.get("name"), f"{where}.tool_calls[{i}].function.name")
            call_id = str(call.get("id") or f"call_{position}_{i}")
            pending.append((name, call_id))
            arguments = function.get("arguments")
            text = (
                arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
            )
            found["tool_calls"].append(function_call(call_id, name, text))
    return found


def _answered(message: JsonObject, pending: list[tuple[str, str]]) -> str:
    """The id of the call whose result this is: as it says, by its name, or the one that waits longest."""
    if isinstance(message.get("tool_call_id"), str):
        return str(message["tool_call_id"])
    wanted = message.get("tool_name") or message.get("name")
    for i, (name, call_id) in enumerate(pending):
        if wanted in (None, name):
            del pending[i]
            return call_id
    return "call_0_0"


def _with_images(text: str, images: Any, where: str) -> str | list[JsonObject]:
    if not images:
        return text
    urls = [_data_url(image, where) for image in as_texts(images, where)]
    return [
        {"type": "text", "text": text},
        *({"type": "image_url", "image_url": {"url": url}} for url in urls),
    ]


def _data_url(image: str, where: str) -> str:
    if image.startswith("data:"):
        return image
    try:
        head = base64.b64decode(image[:64], validate=True)
    except binascii.Error as error:
        raise RequestRefused("images must be base64", param=where) from error
    media_type = next((kind for magic, kind in _IMAGES.items() if head.startswith(magic)), "image/png")
    return f"data:{media_type};base64,{image}"


def _format(value: Any) -> JsonObject:
    if value == "json":
        return {"type": "json_object"}
    if not isinstance(value, dict):
        raise RequestRefused('format must be "json" or a JSON schema', param="format")
    return schema_format("answer", value)

"""What OpenAI's requests may hold, checked before an engine sees them: engines disagree on what is wrong.

llama-server overlooks `"stop": 7`, fails with 500 at tools that are none and wraps tokens around; vLLM takes
`"stream": "yes"`. Fields that are not listed here go to the engine, and so do limits of one model.
Source: OpenAI's API reference; wider where engines of ours have a use for more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mrpack.model.overrides import BY_KEY
from mrpack.model.overrides.kinds import INT32_MAX, Choice, Kind, Switch, Whole, is_whole
from mrpack_runtime.protocols import CHAT, JsonObject
from mrpack_runtime.protocols.conversation import (
    CHOSEN_TOOLS,
    MESSAGES,
    OBJECT,
    TEXT,
    TOOL_CHOICES,
    TOOLS,
    WITHOUT_TOOLS,
    check_messages,
    check_tools,
    holding,
)
from mrpack_runtime.protocols.fields import as_list, as_object, as_text, as_word
from mrpack_runtime.protocols.refusal import RequestRefused

COMPLETION: Final = "/v1/completions"
EMBEDDING: Final = "/v1/embeddings"
IMAGES: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"
# OpenAI takes 4; chats with many names send more.
_STOPS: Final = 64
# OpenAI's own limit.
_CHOICES: Final = 128
_TOP_LOGPROBS: Final = 20
_IMAGES: Final = 10
# Of alternatives to a token in llama-server's own words: it keeps all of them until an answer ends.
_ALTERNATIVES: Final = 100
REPEATS_LIMIT: Final = 2**20
"""Tokens to look back for repetitions, more than contexts have; llama-server reserves some bytes for each."""
_FORMATS: Final = ("text", "json_object", "json_schema", "structural_tag")
# Of a client's words in an error.
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Field:
    """`check` raises RequestRefused with the name it is given; null, as good as absent, never gets there.

    `schema` is JSON Schema for what `check` takes, but for what no schema can say.
    """

    check: Callable[[Any, str], object]
    schema: JsonObject


def _of(kind: Kind) -> Field:
    def check(value: Any, name: str) -> None:
        if wanted := kind.refusal(value):
            raise RequestRefused(f"{name} must be {wanted}", param=name)

    return Field(check, kind.schema())


def _check_stop(value: Any, name: str) -> None:
    texts = as_list([value] if isinstance(value, str) else value, name)
    if len(texts) > _STOPS:
        raise RequestRefused(f"{name}: at most {_STOPS} texts", param=name)
    if not all(as_text(text, f"{name}[{i}]") for i, text in enumerate(texts)):
        raise RequestRefused(f"{name} must not be empty", param=name)


def _check_tool_choice(value: Any, name: str) -> None:
    """A word: what names functions is one by now, see `choose_tools`."""
    as_word(value, name, TOOL_CHOICES)


def _check_response_format(value: Any, name: str) -> None:
    kind = as_word(as_object(value, name).get("type"), f"{name}.type", _FORMATS)
    if kind == "json_schema":
        wanted = as_object(value.get("json_schema"), f"{name}.json_schema")
        as_object(wanted.get("schema"), f"{name}.json_schema.schema")
    elif value.get("schema") is not None:  # llama-server's, of a JSON object
        as_object(value["schema"], f"{name}.schema")


def _check_logit_bias(value: Any, name: str) -> None:
    """Numbers by token; llama-server takes a list of pairs, too, and false for never."""
    if isinstance(value, list):
        return
    for token, bias in as_object(value, name).items():
        if bias is True or not isinstance(bias, int | float):
            raise RequestRefused(f"{name}: the bias of {token[:_SHOWN]!r} must be a number", param=name)


def _check_prompt(value: Any, name: str) -> None:
    """A text, tokens, or a list of either; llama-server takes an object with pictures, too."""
    if isinstance(value, str | dict):
        return
    if not (parts := as_list(value, name)):
        raise RequestRefused(f"{name} must not be empty", param=name)
    lists = [part for part in parts if isinstance(part, list)]
    if all(map(_are_prompts, ([part for part in parts if not isinstance(part, list)], *lists))):
        return
    wrong = next(
        i for i, part in enumerate(parts) if not _are_prompts(part if isinstance(part, list) else [part])
    )
    raise RequestRefused(f"{name}[{wrong}] must be a text, or tokens", param=f"{name}[{wrong}]")


def _are_prompts(parts: list[Any]) -> bool:
    """Texts, or tokens, which have 32 bits: llama-server would take what is left of a larger one."""
    tokens = [part for part in parts if not isinstance(part, str | dict)]
    if not all(type(token) is int or is_whole(token) for token in tokens):
        return False
    return not tokens or (min(tokens) >= 0 and max(tokens) <= INT32_MAX)


def _check_words(value: Any, name: str) -> None:
    if not as_text(value, name).strip():
        raise RequestRefused(f"{name} must not be empty", param=name)


_TOKENS: Final[JsonObject] = {"minimum": 0, "maximum": INT32_MAX}
_PARTS: Final[JsonObject] = {
    "type": ["string", "integer", "array", "object"],
    **_TOKENS,
    "items": {"type": ["string", "integer", "object"], **_TOKENS},
}
_PROMPT: Final = Field(
    _check_prompt, {"anyOf": [TEXT, OBJECT, {"type": "array", "minItems": 1, "items": _PARTS}]}
)
# -1: no limit, as llama.cpp's own pages write it.
_LENGTH: Final = _of(Whole(-1))


def _check_answer_length(value: Any, name: str) -> None:
    _LENGTH.check(value, name)
    if value == 0:
        raise RequestRefused(f"{name} must be at least 1", param=name)


# An answer without a word is none; only completions that echo have a use for it.
_ANSWER_LENGTH: Final = Field(_check_answer_length, {**_LENGTH.schema, "not": {"const": 0}})
_GENERATION: Final[Mapping[str, Field]] = {
    **{
        name: _of(BY_KEY[f"sampling.{name}"].kind)
        for name in ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty")
    },
    "max_tokens": _LENGTH,
    "n": _of(Whole(1, _CHOICES)),
    "seed": _of(Whole(-(2**63), 2**63 - 1)),
    "stop": Field(
        _check_stop,
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "maxItems": _STOPS, "items": {"type": "string", "minLength": 1}},
            ]
        },
    ),
    "stream": _of(Switch()),
    "stream_options": Field(as_object, OBJECT),
    "grammar": Field(as_text, TEXT),
    "json_schema": Field(as_object, OBJECT),
    "repeat_last_n": _of(Whole(-1, REPEATS_LIMIT)),
    "dry_penalty_last_n": _of(Whole(-1, REPEATS_LIMIT)),
    "n_probs": _of(Whole(0, _ALTERNATIVES)),
    "logit_bias": Field(
        _check_logit_bias, {"type": ["object", "array"], "additionalProperties": {"type": "number"}}
    ),
    "response_format": Field(
        _check_response_format,
        {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"enum": list(_FORMATS)}},
            "if": {"properties": {"type": {"const": "json_schema"}}},
            "then": holding("json_schema", holding("schema", OBJECT)),
        },
    ),
}
FIELDS: Final[Mapping[str, Mapping[str, Field]]] = {
    CHAT: {
        "messages": Field(check_messages, MESSAGES),
        **_GENERATION,
        "max_tokens": _ANSWER_LENGTH,
        "max_completion_tokens": _ANSWER_LENGTH,
        "logprobs": _of(Switch()),
        "top_logprobs": _of(Whole(0, _TOP_LOGPROBS)),
        "reasoning_effort": Field(as_text, TEXT),
        "reasoning_format": _of(BY_KEY["llamacpp.reasoning_format"].kind),
        "thinking_budget_tokens": _of(Whole(-1)),
        "chat_template_kwargs": Field(as_object, OBJECT),
        "parallel_tool_calls": _of(Switch()),
        "tool_choice": Field(_check_tool_choice, {"anyOf": [{"enum": list(TOOL_CHOICES)}, CHOSEN_TOOLS]}),
        "tools": Field(check_tools, TOOLS),
    },
    COMPLETION: {
        "prompt": _PROMPT,
        **_GENERATION,
        "echo": _of(Switch()),
        "logprobs": _of(Whole(0, _TOP_LOGPROBS)),
    },
    EMBEDDING: {
        "input": _PROMPT,
        "dimensions": _of(Whole(1)),
        "encoding_format": _of(Choice(("float", "base64"))),
    },
    IMAGES: {
        "prompt": Field(_check_words, {"type": "string", "pattern": r"[^\s]"}),
        "n": _of(Whole(1, _IMAGES)),
        "stream": _of(Switch()),
    },
}
"""Of the engines' paths, by field."""
REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    CHAT: ("messages",),
    COMPLETION: ("prompt",),
    EMBEDDING: ("input", "messages"),
    IMAGES: ("prompt",),
}
"""One of them is needed; the first is OpenAI's."""

BETWEEN_FIELDS: Final[Mapping[str, JsonObject]] = {
    CHAT: {
        "anyOf": [
            {"properties": {"tool_choice": {"enum": list(WITHOUT_TOOLS)}}},
            {"properties": {"tools": {"type": "array", "minItems": 1}}, "required": ["tools"]},
        ]
    },
}
"""What holds for several of them, as JSON Schema: to choose a tool, there have to be tools."""


def check_fields(path: str, body: JsonObject) -> None:
    """Looks at a request in OpenAI's words for the engine's `path`. Raises RequestRefused."""
    needed = REQUIRED.get(path, ())
    if needed and all(body.get(name) is None for name in needed):
        raise RequestRefused(f"{needed[0]} is required", param=needed[0])
    fields = FIELDS.get(path, {})
    for name, value in body.items():
        if value is not None and (field := fields.get(name)) is not None:
            field.check(value, name)
    if path == CHAT and body.get("tool_choice") not in WITHOUT_TOOLS and not body.get("tools"):
        raise RequestRefused("tool_choice needs tools", param="tool_choice")

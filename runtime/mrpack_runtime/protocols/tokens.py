"""Tokens of a text or a chat, as each engine's own routes tell them, in one shape.

Ours is vLLM's: `/tokenize` takes `prompt` or `messages` and gives `tokens` and `count`, `/detokenize` the
other way. llama-server's word for `prompt` (`content`) is understood too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mrpack_runtime.protocols import JsonObject
from mrpack_runtime.protocols.fields import as_list, as_object, as_text, as_whole
from mrpack_runtime.protocols.refusal import RequestRefused
from mrpack_runtime.wire.http1 import BrokenAnswer


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to the engine."""

    path: str
    body: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRoutes:
    """How one engine spells it. `template`: what turns a chat into a text first; None: `tokenize` does."""

    tokenize: Callable[[JsonObject], Ask]
    detokenize: Callable[[list[int]], Ask]
    template: Callable[[JsonObject], Ask] | None
    text: str
    """Where the answer to `detokenize` has its text."""


def _llama_tokenize(body: JsonObject) -> Ask:
    add = body.get("add_special_tokens", body.get("add_special", True))
    pieces = body.get("return_token_strs", body.get("with_pieces", False))
    return Ask(
        "/tokenize",
        {
            "content": body["prompt"],
            "add_special": bool(add),
            "parse_special": True,
            "with_pieces": bool(pieces),
        },
    )


def _vllm_tokenize(body: JsonObject) -> Ask:
    return Ask("/tokenize", {name: value for name, value in body.items() if name != "with_pieces"})


LLAMA_SERVER: Final = TokenRoutes(
    tokenize=_llama_tokenize,
    detokenize=lambda tokens: Ask("/detokenize", {"tokens": tokens}),
    template=lambda body: Ask("/apply-template", body),
    text="content",
)
VLLM: Final = TokenRoutes(
    tokenize=_vllm_tokenize,
    detokenize=lambda tokens: Ask("/detokenize", {"tokens": tokens}),
    template=None,
    text="prompt",
)
# By engine; one that is not here cannot tell.
TOKEN_ROUTES: Final[Mapping[str, TokenRoutes]] = {"llama.cpp": LLAMA_SERVER, "vllm": VLLM}


def parse_tokenize(body: JsonObject) -> JsonObject:
    """With either `prompt` or `messages`. Raises RequestRefused."""
    rest = {name: value for name, value in body.items() if name not in {"content", "input"}}
    if body.get("messages") is not None:
        as_list(body["messages"], "messages")
        return rest
    rest.pop("messages", None)
    prompt = next((body[name] for name in ("prompt", "content", "input") if body.get(name) is not None), None)
    if prompt is None:
        raise RequestRefused("prompt or messages is required", param="prompt")
    return {**rest, "prompt": as_text(prompt, "prompt")}


def parse_detokenize(body: JsonObject) -> list[int]:
    """Raises RequestRefused."""
    tokens = as_list(body.get("tokens"), "tokens")
    return [as_whole(token, f"tokens[{i}]", least=0) for i, token in enumerate(tokens)]


def templated(body: JsonObject, answer: Any) -> JsonObject:
    """The request for the text of a chat; the first special token is not in it, as the engine adds it."""
    prompt = answer.get("prompt") if isinstance(answer, dict) else None
    if not isinstance(prompt, str):
        raise BrokenAnswer("the engine's answer has no prompt")
    rest = {name: value for name, value in body.items() if name != "messages"}
    return {**rest, "prompt": prompt}


def token_answer(model: str, answer: Any) -> JsonObject:
    """Tokens in our shape; `token_strs` where pieces were asked for."""
    found = as_object(answer, "answer") if isinstance(answer, dict) else {}
    tokens = found.get("tokens")
    if not isinstance(tokens, list):
        raise BrokenAnswer("the engine's answer has no tokens")
    strings = found.get("token_strs")
    if tokens and all(isinstance(token, dict) for token in tokens):
        strings = [token.get("piece") for token in tokens]
        tokens = [token.get("id") for token in tokens]
    result: JsonObject = {"model": model, "tokens": tokens, "count": len(tokens)}
    if strings is not None:
        result["token_strs"] = strings
    if isinstance(found.get("max_model_len"), int):
        result["max_model_len"] = found["max_model_len"]
    return result


def text_answer(model: str, routes: TokenRoutes, answer: Any) -> JsonObject:
    text = answer.get(routes.text) if isinstance(answer, dict) else None
    if not isinstance(text, str):
        raise BrokenAnswer("the engine's answer has no text")
    return {"model": model, "prompt": text, "content": text}

"""Fields of OpenAI's requests that an engine overlooks: they go to it, and an answer's header names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mrpack_runtime.image_server.fields import WITHOUT_EFFECT
from mrpack_runtime.protocols import CHAT, JsonObject
from mrpack_runtime.protocols.openai import COMPLETION, EDITS, EMBEDDING, IMAGES

# About OpenAI's own service, or what models here do not give: sound, and what was found in the web.
_SERVICE: Final = frozenset(
    {"metadata", "moderation", "prediction", "prompt_cache_key", "prompt_cache_options", "service_tier"}
    | {"prompt_cache_retention", "safety_identifier", "store", "user", "verbosity"}
    | {"audio", "modalities", "web_search_options"}
)
# The words for tools that OpenAI had before `tools`.
_OLD_TOOLS: Final = frozenset({"functions", "function_call"})
_IGNORED: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    # Measured with xllamacpp 2026.10: the answer is the same with and without.
    "llama.cpp": {
        CHAT: _SERVICE | _OLD_TOOLS,
        COMPLETION: frozenset({"best_of", "echo", "suffix", "user"}),
        EMBEDDING: frozenset({"user"}),
    },
    # The fields of OpenAI's that vLLM 0.32's request classes lack; of `user` they say that it is ignored.
    "vllm": {
        CHAT: _SERVICE | _OLD_TOOLS,
        COMPLETION: frozenset({"best_of", "user"}),
        EMBEDDING: frozenset({"user"}),
    },
    "diffusers": dict.fromkeys((IMAGES, EDITS), WITHOUT_EFFECT),
}
"""By engine and its path. Engines that are not here may overlook more than they are known for."""

# What llama-cpp-python 0.3.36 reads of any generation, with what its quirks do for it.
_GENERATION: Final = frozenset(
    {"model", "max_tokens", "temperature", "top_p", "min_p", "top_k", "stop", "stream", "stream_options"}
    | {"presence_penalty", "frequency_penalty", "repeat_penalty", "logit_bias", "seed", "logprobs", "n"}
    | {
        "mirostat",
        "mirostat_mode",
        "mirostat_tau",
        "mirostat_eta",
        "grammar",
        "min_tokens",
        "logit_bias_type",
    }
    | {"return_progress"}  # of ours: it only brings news
)
_KNOWN: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "llama_cpp_server": {
        CHAT: _GENERATION
        | _OLD_TOOLS
        | {"messages", "tools", "tool_choice", "top_logprobs", "max_completion_tokens", "response_format"},
        COMPLETION: _GENERATION | {"prompt", "suffix", "echo", "best_of"},
        EMBEDDING: frozenset({"model", "input", "encoding_format", "dimensions"}),  # the last is ours
    },
}
"""By the name of an engine's quirks: one that drops all it does not know, so that the rest is overlooked."""


def find_ignored(server: str, path: str, body: JsonObject) -> tuple[str, ...]:
    """Those of a request in OpenAI's words that are set: null and false ask for nothing.

    `server`: the engine, or the quirks in front of it.
    """
    if (known := _KNOWN.get(server, {}).get(path)) is not None:
        overlooked = frozenset(body) - known
    else:
        overlooked = _IGNORED.get(server, {}).get(path, frozenset()).intersection(body)
    return tuple(sorted(name for name in overlooked if body[name] not in (None, False)))

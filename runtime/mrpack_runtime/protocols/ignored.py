"""Fields of OpenAI's requests that an engine overlooks: they go to it, and an answer's header names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mrpack_runtime.image_server.fields import WITHOUT_EFFECT
from mrpack_runtime.protocols import CHAT, JsonObject
from mrpack_runtime.protocols.openai import COMPLETION, EMBEDDING, IMAGES

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
        EMBEDDING: frozenset({"dimensions", "user"}),
    },
    # The fields of OpenAI's that vLLM 0.32's request classes lack; of `user` they say that it is ignored.
    "vllm": {
        CHAT: _SERVICE | _OLD_TOOLS,
        COMPLETION: frozenset({"best_of", "user"}),
        EMBEDDING: frozenset({"user"}),
    },
    "diffusers": {IMAGES: WITHOUT_EFFECT - {"model"}},
}
"""By engine and its path. Engines that are not here may overlook more than they are known for."""


def find_ignored(engine: str, path: str, body: JsonObject) -> tuple[str, ...]:
    """Those of a request in OpenAI's words that are set: null and false ask for nothing."""
    known = _IGNORED.get(engine, {}).get(path, frozenset())
    return tuple(sorted(name for name in known.intersection(body) if body[name] not in (None, False)))

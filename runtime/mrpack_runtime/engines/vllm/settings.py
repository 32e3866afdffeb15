"""The settings below `vllm.` as flags of `vllm serve`.

mrpack.model.overrides.vllm says what values they take; together they are allow-list and command line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from mrpack.errors import UsageError
from mrpack_runtime.settings import own as own_settings

GROUP: Final = "vllm"
# Parts of `--speculative-config`, by their names there.
_SPECULATIVE: Final[Mapping[str, str]] = {
    "speculative_method": "method",
    "num_speculative_tokens": "num_speculative_tokens",
    "prompt_lookup_max": "prompt_lookup_max",
    "prompt_lookup_min": "prompt_lookup_min",
}
_NGRAM: Final = "ngram"


def flags(name: str, value: Any) -> list[str]:
    """A setting that has a flag of its own name, `-` for `_`."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    text = json.dumps(value, separators=(",", ":")) if isinstance(value, Mapping) else str(value)
    # What begins with a minus would be taken for a flag.
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def _pooling(own: Mapping[str, Any]) -> list[str]:
    return flags("pooler_config", {"pooling_type": own["pooling"].upper()}) if "pooling" in own else []


def _speculative(own: Mapping[str, Any]) -> list[str]:
    values = {theirs: own[ours] for ours, theirs in _SPECULATIVE.items() if ours in own}
    return flags("speculative_config", values) if values else []


# Settings that are parts of one flag's JSON.
_COMPOSED: Final[Mapping[Callable[[Mapping[str, Any]], list[str]], frozenset[str]]] = {
    _pooling: frozenset({"pooling"}),
    _speculative: frozenset(_SPECULATIVE),
}
_PARTS: Final = frozenset().union(*_COMPOSED.values())
# A model is loaded once for text and once for embeddings, with the same settings.
_TEXT_ONLY: Final = frozenset(
    {*_SPECULATIVE, "enable_auto_tool_choice", "tool_call_parser", "reasoning_parser"}
)
_EMBEDDING_ONLY: Final = frozenset({"pooling"})


def command_line(own: Mapping[str, Any], *, writes: bool) -> list[str]:
    """Arguments of `vllm serve` for settings that were checked; `writes`: text, rather than embeddings."""
    useless = _EMBEDDING_ONLY if writes else _TEXT_ONLY
    used = {name: value for name, value in own.items() if name not in useless}
    plain = [word for name, value in used.items() if name not in _PARTS for word in flags(name, value)]
    return plain + [word for compose in _COMPOSED for word in compose(used)]


def checked(own: Mapping[str, Any]) -> dict[str, Any]:
    """As `own.checked` of all settings, with what these settings ask for in turn.

    Raises:
        UsageError: as that, and for a setting without another that it needs.
    """
    found = own_settings.checked(GROUP, own)
    return {**_defaults(found), **found}


def _defaults(own: Mapping[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    if "tool_call_parser" in own:
        defaults["enable_auto_tool_choice"] = True
    elif own.get("enable_auto_tool_choice"):
        raise UsageError(
            f"{GROUP}.enable_auto_tool_choice needs {GROUP}.tool_call_parser",
            hint="how the model writes calls of tools: hermes, llama3_json, mistral, qwen3_coder, …",
        )
    guesses = own.keys() & _SPECULATIVE.keys()
    if guesses and "speculative_method" not in own:
        raise UsageError(f"{GROUP}.{min(guesses)} needs {GROUP}.speculative_method")
    if own.get("speculative_method") == _NGRAM:
        # The shortest guesses and lookups that vLLM's own examples use.
        defaults |= {"num_speculative_tokens": 4, "prompt_lookup_max": 4}
    return defaults

"""Settings that other tools' artifacts and model files carry, as ours.

What has no place here is left out, and so is a value that our setting does not take: these documents are
free-form, and nothing in them was promised to anybody. What was left out is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mrpack.model.overrides.document import Overrides, check_settings, parse_overrides
from mrpack.model.overrides.table import BY_KEY
from mrpack.model.overrides.vllm import split_hf_overrides

# Ollama's parameters (its Modelfile reference). The rest of them is about its own runner's memory.
_OLLAMA: Final = {
    "num_ctx": "context_size",
    "num_predict": "sampling.max_tokens",
    "temperature": "sampling.temperature",
    "top_k": "sampling.top_k",
    "top_p": "sampling.top_p",
    "min_p": "sampling.min_p",
    "repeat_penalty": "sampling.repeat_penalty",
    "presence_penalty": "sampling.presence_penalty",
    "frequency_penalty": "sampling.frequency_penalty",
    "stop": "sampling.stop",
    "seed": "sampling.seed",
    "num_batch": "llamacpp.batch_size",
    "num_gpu": "llamacpp.n_gpu_layers",
    "main_gpu": "llamacpp.main_gpu",
    "num_keep": "llamacpp.keep",
    "use_mmap": "llamacpp.mmap",
}

# Hugging Face transformers, GenerationConfig.
_GENERATION: Final = {
    "temperature": "sampling.temperature",
    "top_k": "sampling.top_k",
    "top_p": "sampling.top_p",
    "min_p": "sampling.min_p",
    "repetition_penalty": "sampling.repeat_penalty",
    "max_new_tokens": "sampling.max_tokens",
    "stop_strings": "sampling.stop",
}
# What loaders take from there themselves: identities of tokens, and facts about the file.
_NOT_SAMPLING: Final = frozenset(
    {
        *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id"),
        *("forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids"),
        *("transformers_version", "_from_model_config", "do_sample", "use_cache", "cache_implementation"),
        *("output_attentions", "output_hidden_states", "output_scores", "return_dict_in_generate"),
        *("max_length", "trust_remote_code"),
    }
)


@dataclass(frozen=True, slots=True)
class Imported:
    """`ignored` are names, as they were written, of what could not be taken over."""

    settings: Overrides = field(default_factory=Overrides)
    ignored: tuple[str, ...] = ()


def from_hf_overrides(values: Mapping[str, Any], where: str = "--hf-overrides") -> Overrides:
    """Settings of vLLM by their names; the rest replaces values of the model's config.

    Raises InvalidArtifact, as `parse_overrides` does: somebody has written this for us.
    """
    return check_settings(split_hf_overrides(values), where)


def from_ollama_params(params: Mapping[str, Any]) -> Imported:
    """The layer `application/vnd.ollama.image.params`; a negative `num_predict` is no limit, as none is."""
    return _translated(params, _OLLAMA)


def from_generation_config(document: Mapping[str, Any]) -> Imported:
    """`generation_config.json`. With `do_sample` false the others are not in force: answers are greedy."""
    if document.get("do_sample") is False:
        return Imported(Overrides({"sampling.temperature": 0}))
    rest = {name: value for name, value in document.items() if name not in _NOT_SAMPLING}
    return _translated(rest, _GENERATION)


def from_kitops_parameters(parameters: Any) -> Imported:
    """`model.parameters` of a Kitfile, where anything may stand.

    A document of ours under the key `mrpack` counts alone; else keys named as ours or as Ollama's are taken.
    """
    if not isinstance(parameters, Mapping):
        return Imported()
    ours = parameters.get("mrpack")
    if isinstance(ours, Mapping):
        return Imported(parse_overrides(ours, "model.parameters.mrpack"))
    names = {setting.name: setting.key for setting in BY_KEY.values() if setting.group in {"", "sampling"}}
    return _translated(parameters, {**names, **_OLLAMA})


def _translated(values: Mapping[str, Any], keys: Mapping[str, str]) -> Imported:
    taken: dict[str, Any] = {}
    ignored = []
    for name, value in values.items():
        key = keys.get(name)
        if value is None:
            continue
        listed = [value] if key == "sampling.stop" and isinstance(value, str) else value
        if key is not None and BY_KEY[key].kind.takes(listed):
            taken[key] = BY_KEY[key].kind.canonical(listed)
        elif (name, value) not in _NO_LIMIT:
            ignored.append(str(name)[:80])
    return Imported(Overrides(taken), tuple(ignored))


# Ollama: an answer of any length, or one that fills the context.
_NO_LIMIT: Final = (("num_predict", -1), ("num_predict", -2))

"""Settings that other tools' artifacts and model files carry, as ours.

What has no place here is left out, and so is a value that our setting does not take: these documents are
free-form, and nothing in them was promised to anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def from_hf_overrides(values: Mapping[str, Any], where: str = "--hf-overrides") -> Overrides:
    """Settings of vLLM by their names; the rest replaces values of the model's config.

    Raises InvalidArtifact, as `parse_overrides` does: somebody has written this for us.
    """
    return check_settings(split_hf_overrides(values), where)


def from_ollama_params(params: Mapping[str, Any]) -> Overrides:
    """The layer `application/vnd.ollama.image.params`; a negative `num_predict` is no limit, as none is."""
    return _translated(params, _OLLAMA)


def from_generation_config(document: Mapping[str, Any]) -> Overrides:
    """`generation_config.json`. With `do_sample` false the others are not in force: answers are greedy."""
    if document.get("do_sample") is False:
        return Overrides({"sampling.temperature": 0})
    return _translated(document, _GENERATION)


def from_kitops_parameters(parameters: Any) -> Overrides:
    """`model.parameters` of a Kitfile, where anything may stand.

    A document of ours under the key `mrpack` counts alone; else keys named as ours or as Ollama's are taken.
    """
    if not isinstance(parameters, Mapping):
        return Overrides()
    ours = parameters.get("mrpack")
    if isinstance(ours, Mapping):
        return parse_overrides(ours, "model.parameters.mrpack")
    names = {setting.name: setting.key for setting in BY_KEY.values() if setting.group in {"", "sampling"}}
    return _translated(parameters, {**names, **_OLLAMA})


def _translated(values: Mapping[str, Any], keys: Mapping[str, str]) -> Overrides:
    taken: dict[str, Any] = {}
    for name, value in values.items():
        key = keys.get(name)
        if key is None or value is None:
            continue
        listed = [value] if key == "sampling.stop" and isinstance(value, str) else value
        kind = BY_KEY[key].kind
        if kind.takes(listed):
            taken[key] = kind.canonical(listed)
    return Overrides(taken)

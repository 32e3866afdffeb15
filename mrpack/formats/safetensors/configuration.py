"""What the configs beside the weights say: `config.json`, and the side files of quantizers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mrpack.formats.safetensors.quantization import Scheme, find_scheme
from mrpack.model.config import CONTEXT_SIZE_LIMIT
from mrpack.model.document import read_document
from mrpack.readable import ReadableFile

CONFIG_NAME: Final = "config.json"
# GPTQ and AWQ before they moved into config.json, and NVIDIA's Model Optimizer: where in the file the scheme
# is, and the method when the file does not say.
_SIDE_FILES: Final = (
    ("quantize_config.json", "", "gptq"),
    ("quant_config.json", "", "awq"),
    ("hf_quant_config.json", "quantization", "modelopt"),
)
# Where config.json has it, and the method when that is not named. MLX repeats its own as a nameless
# `quantization_config`; `compression_config` is from before compressed-tensors came into Transformers.
_SCHEME_KEYS: Final = (
    ("quantization", "mlx"),
    ("quantization_config", ""),
    ("compression_config", "compressed-tensors"),
)
# As models call the longest input they were made for, in order of trust. `max_length` is a default for
# generation in most configs, and only means this in those that have nothing else.
_CONTEXT_KEYS: Final = (
    "max_position_embeddings",
    "n_ctx",
    "n_positions",
    "max_sequence_length",
    "max_seq_len",
    "max_seq_length",
    "seq_length",
    "model_max_length",
    "max_length",
)
# Models that read pictures or sound keep the config of their language model under one of these.
_TEXT_CONFIGS: Final = ("text_config", "llm_config", "language_config", "thinker_config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Empty when there are no configs."""

    architecture: str = ""
    context_size: int | None = None
    scheme: Scheme | None = None


def read_configuration(files: Iterable[ReadableFile], folder: str) -> Configuration:
    """From the configs that lie directly in `folder` (empty, or ending in a slash).

    Raises:
        InvalidArtifact: one of them is no JSON object.
    """
    beside = {file.name[len(folder) :]: file for file in files if file.name.startswith(folder)}
    config = read_document(beside[CONFIG_NAME]) if CONFIG_NAME in beside else {}
    levels = tuple(_levels(config))
    return Configuration(
        architecture=_architecture(levels),
        context_size=_context_size(levels),
        scheme=_scheme(levels, beside),
    )


def language_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of the language model within that of a model which also reads pictures or sound."""
    return next((level for level in _levels(config) if "num_hidden_layers" in level), config)


def trained_context(config: Mapping[str, Any]) -> int | None:
    """Tokens of the longest input that a model with this config was made for."""
    return _context_size(_levels(config))


def _levels(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The config, and then those of its language model, which may be nested twice."""
    yield config
    for key in _TEXT_CONFIGS:
        inner = config.get(key)
        if isinstance(inner, dict):
            yield inner
            for inner_key in _TEXT_CONFIGS:
                innermost = inner.get(inner_key)
                if isinstance(innermost, dict):
                    yield innermost


def _architecture(levels: Iterable[Mapping[str, Any]]) -> str:
    """The class of the model, such as `LlamaForCausalLM`, else its type."""
    for level in levels:
        classes = level.get("architectures")
        if isinstance(classes, list) and classes and isinstance(classes[0], str):
            return classes[0]
    types = (level.get("model_type") for level in levels)
    return next((kind for kind in types if isinstance(kind, str)), "")


def _context_size(levels: Iterable[Mapping[str, Any]]) -> int | None:
    """The outermost config that says it decides."""
    for level in levels:
        for key in _CONTEXT_KEYS:
            tokens = level.get(key)
            if isinstance(tokens, int) and not isinstance(tokens, bool) and 0 < tokens <= CONTEXT_SIZE_LIMIT:
                return tokens
    return None


def _scheme(levels: Iterable[Mapping[str, Any]], beside: Mapping[str, ReadableFile]) -> Scheme | None:
    for level in levels:
        for key, method in _SCHEME_KEYS:
            settings = level.get(key)
            scheme = find_scheme(settings, method) if isinstance(settings, dict) else None
            if scheme:
                return scheme
    for name, key, method in _SIDE_FILES:
        if name in beside:
            document = read_document(beside[name])
            settings = document.get(key) if key else document
            scheme = find_scheme(settings, method) if isinstance(settings, dict) else None
            if scheme:
                return scheme
    return None

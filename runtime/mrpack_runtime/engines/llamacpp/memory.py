"""How much memory a llama.cpp process will take: weights, the context of all its slots, and one computation.

What the cache for prompts takes later (`llamacpp.cache_ram`) is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from mrpack.formats.gguf import GgufArray, read_header
from mrpack_runtime.engine import EngineSettings, ModelBundle
from mrpack_runtime.engine.memory_needs import file_sizes, spread
from mrpack_runtime.engines.llamacpp.plan import Plan, metadata_of, plan
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.machine.memory import Memory

# Bytes of 32 values: ggml's blocks (ggml-common.h).
_BLOCK_BYTES: Final = {
    "f32": 128,
    "f16": 64,
    "bf16": 64,
    "q8_0": 34,
    "q5_1": 24,
    "q5_0": 22,
    "q4_1": 20,
    "q4_0": 18,
    "iq4_nl": 18,
}
_BLOCK: Final = 32
_DEFAULT_TYPE: Final = "f16"
# Every n-th layer sees the whole context, the others their window (llama.cpp, set_swa_pattern).
_WHOLE_LAYERS: Final = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "cohere2": 4,
    "gpt-oss": 2,
    "llama4": 4,
    "exaone4": 4,
}
# llama-server's default for `--ubatch-size`.
_UBATCH: Final = 512
_WIDTH: Final = 4
# Where the header does not tell: as many as the largest vocabularies in use.
_VOCABULARY: Final = 262144
# The program and its libraries.
_PROCESS: Final = 64 * 2**20


def memory(bundle: ModelBundle, settings: EngineSettings, host: HostFacts) -> Memory:
    """Raises as `plan`."""
    wanted = plan(bundle, settings, host)
    metadata = metadata_of(bundle)
    if _layers_differ(metadata):
        header = read_header(bundle.weights[0]).values
        metadata = {**metadata, **{key: _text(value) for key, value in header.items()}}
    weights = file_sizes((*bundle.weights, *bundle.adapters, *([bundle.mmproj] if bundle.mmproj else [])))
    computed = compute_size(wanted, metadata)
    moved = weights + cache_size(wanted, metadata)
    layers = wanted.own.get("n_gpu_layers", -1)
    count = _number(metadata, "block_count") + 1
    if 0 <= layers < count:
        on_gpu = moved * layers // count
        placed = spread(on_gpu + computed, host) if layers else Memory(computed)
        return replace(placed, host=placed.host + moved - on_gpu + _PROCESS)
    placed = spread(moved + computed, host)
    return replace(placed, host=placed.host + _PROCESS)


def cache_size(wanted: Plan, metadata: Mapping[str, str]) -> int:
    """Bytes of the keys and values of all slots; 0 for models that the header does not describe."""
    tokens = wanted.whole_context or _number(metadata, "context_length")
    window = _number(metadata, "attention.sliding_window")
    period = _WHOLE_LAYERS.get(metadata.get("general.architecture", ""), 1)
    heads = _heads(metadata)
    size = 0
    for layer, count in enumerate(heads):
        seen = tokens
        if window and period > 1 and (layer + 1) % period and not wanted.own.get("swa_full"):
            seen = min(tokens, window * wanted.slots + _ubatch(wanted))
        size += seen * count * _token_size(wanted, metadata)
    return size // _BLOCK


def compute_size(wanted: Plan, metadata: Mapping[str, str]) -> int:
    """Bytes for one batch: scores of all tokens of the vocabulary, and some rows of the model's width."""
    vocabulary = _number(metadata, "vocab_size") or _VOCABULARY
    return _ubatch(wanted) * (vocabulary + 8 * _number(metadata, "embedding_length")) * _WIDTH


def _ubatch(wanted: Plan) -> int:
    return int(wanted.own.get("ubatch_size", _UBATCH)) or _UBATCH


def _token_size(wanted: Plan, metadata: Mapping[str, str]) -> int:
    """Of one head, in 32nds of a byte."""
    heads = _number(metadata, "attention.head_count") or 1
    width = _number(metadata, "embedding_length") // heads
    keys = _number(metadata, "attention.key_length") or width
    values = _number(metadata, "attention.value_length") or width
    return keys * _bytes(wanted, "cache_type_k") + values * _bytes(wanted, "cache_type_v")


def _bytes(wanted: Plan, name: str) -> int:
    return _BLOCK_BYTES[wanted.own.get(name, _DEFAULT_TYPE)]


def _heads(metadata: Mapping[str, str]) -> list[int]:
    """Those with keys and values, by layer; layers of recurrent models have none."""
    text = _find(metadata, "attention.head_count_kv") or _find(metadata, "attention.head_count")
    counts = [int(word) for word in text.split(",") if word.strip().isdecimal()]
    layers = _number(metadata, "block_count")
    return counts if len(counts) == layers else layers * [max(counts, default=0)]


def _layers_differ(metadata: Mapping[str, str]) -> bool:
    """Whether layers have different numbers of heads, which artifacts leave out."""
    told = _find(metadata, "attention.head_count_kv") or _find(metadata, "attention.head_count")
    return bool(_number(metadata, "block_count")) and not told.isdecimal()


def _find(metadata: Mapping[str, str], key: str) -> str:
    return metadata.get(f"{metadata.get('general.architecture')}.{key}", "")


def _number(metadata: Mapping[str, str], key: str) -> int:
    text = _find(metadata, key)
    return int(text) if text.isdecimal() else 0


def _text(value: object) -> str:
    return ",".join(map(str, value.items or ())) if isinstance(value, GgufArray) else str(value)

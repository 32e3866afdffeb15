"""What an artifact says about a GGUF model: the labels that Docker Model Runner computes.

The texts are its own, byte for byte (docs/formats.md, "GGUF labels"), odd roundings and all. Only better:
ties in the guess of a quantization are decided the same way every time, and new file types have names.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mrpack.formats.gguf.header import GgufArray, GgufHeader, Scalar, Tensor, Value
from mrpack.model.config import CONTEXT_SIZE_LIMIT, ModelConfig
from mrpack.model.quantization import find_file_type, find_quantization

# Unicode white space as Go's strings.TrimSpace has it; Python's str.strip would take U+001C to U+001F too.
_WHITE_SPACE: Final = (
    "\t\n\v\f\r \u0085\u00a0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
# Counted in powers of 1000.
_COUNT_UNITS: Final = ((10**15, "Q"), (10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"), (1, ""))
# The largest that fits, decimal or binary.
_SIZE_UNITS: Final = (
    (2**50, "PiB"),
    (10**15, "PB"),
    (2**40, "TiB"),
    (10**12, "TB"),
    (2**30, "GiB"),
    (10**9, "GB"),
    (2**20, "MiB"),
    (10**6, "MB"),
    (2**10, "KiB"),
    (10**3, "KB"),
    (1, "B"),
)
_UNKNOWN: Final = "Unknown"
_IMAGE_ARCHITECTURES: Final = frozenset({"flux", "sd", "sd2.5", "sd3", "stable-diffusion"})
_IMAGE_TENSORS: Final = (
    "model.diffusion_model.",
    "double_blocks.",
    "joint_blocks.",
    "decoder.",
    "encoder.",
    "text_model.",
)


def describe(headers: Sequence[GgufHeader]) -> ModelConfig:
    """The labels of one model: of a single file, or of all its shards in order."""
    values = _merge(header.values for header in headers)
    tensors = [tensor for header in headers for tensor in header.tensors]
    architecture = _architecture(values, tensors)
    return ModelConfig(
        format="gguf",
        quantization=_quantization(values, tensors, architecture),
        parameters=format_count(sum(tensor.elements for tensor in tensors if tensor.shape)),
        architecture=architecture,
        size=format_size(max(0, sum(_data_size(header) for header in headers))),
        metadata=_metadata(values),
        context_size=_context_size(values, headers),
    )


def format_count(count: int) -> str:
    """A number of parameters: 361821120 is `361.82M`."""
    return _format(count, _COUNT_UNITS)


def format_size(size: int) -> str:
    """Bytes in the largest decimal or binary unit that fits: 1023 is `1.02KB`, 1024 is `1KiB`."""
    return _format(size, _SIZE_UNITS)


def _format(number: int, units: Sequence[tuple[int, str]]) -> str:
    base, unit = next(((base, unit) for base, unit in units if number >= base), units[-1])
    return f"{number / base:.2f}".removesuffix(".00") + unit


def _merge(shards: Iterable[Mapping[str, Value]]) -> dict[str, Value]:
    """All keys but the number of the shard; texts and keys trimmed; a later shard wins."""
    merged: dict[str, Value] = {}
    for values in shards:
        for key, value in values.items():
            if key != "split.no":
                merged[key.strip(_WHITE_SPACE)] = (
                    value.strip(_WHITE_SPACE) if isinstance(value, str) else value
                )
    return merged


def _data_size(header: GgufHeader) -> int:
    """Bytes behind the header and its padding; one whole alignment of padding when none is needed."""
    padding = header.alignment - header.header_size % header.alignment
    return header.file_size - header.header_size - padding


def _architecture(values: Mapping[str, Value], tensors: Sequence[Tensor]) -> str:
    hint, named = values.get("controlvector.model_hint"), values.get("general.architecture")
    if isinstance(hint, str):
        return hint
    if isinstance(named, str) and named not in _IMAGE_ARCHITECTURES:
        return named
    if values.get("general.type") == "imatrix":
        return "imatrix"
    return "diffusion" if any(tensor.name.startswith(_IMAGE_TENSORS) for tensor in tensors) else "llama"


def _context_size(values: Mapping[str, Value], headers: Sequence[GgufHeader]) -> int | None:
    architecture = values.get("general.architecture")
    if any(header.kind != "model" for header in headers) or architecture in _IMAGE_ARCHITECTURES:
        return None
    tokens = values.get(f"{architecture}.context_length")
    if isinstance(tokens, int) and not isinstance(tokens, bool) and 0 < tokens <= CONTEXT_SIZE_LIMIT:
        return tokens
    return None


def _metadata(values: Mapping[str, Value]) -> dict[str, str]:
    """Every value as text; arrays that were too long to keep are left out."""
    metadata = {}
    for key, value in values.items():
        if not isinstance(value, GgufArray):
            metadata[key] = _text(value)
        elif value.items is not None:
            metadata[key] = ", ".join(_text(item) for item in value.items)
    return metadata


def _text(value: Scalar) -> str:
    """As Go's `%d`, `%f`, `%t` and `%s` print it."""
    match value:
        case bool():
            return "true" if value else "false"
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "+Inf" if value > 0 else "-Inf"
        case float():
            return f"{value:.6f}"
        case str():
            return value.strip(_WHITE_SPACE)
        case _:
            return str(value)


def _quantization(values: Mapping[str, Value], tensors: Sequence[Tensor], architecture: str) -> str:
    file_type = values.get("general.file_type")
    known = find_file_type(file_type) if isinstance(file_type, int) else None
    known = known or find_quantization(_guess_quantization(tensors, architecture))
    return known.label if known else _UNKNOWN


def _guess_quantization(tensors: Sequence[Tensor], architecture: str) -> str:
    """From the tensor types: the most frequent one names a family, others tell its mixture."""
    counted = [tensor for tensor in tensors if _tells_quantization(tensor.name, architecture)]
    counts = Counter(tensor.type.name for tensor in counted)
    elements: Counter[str] = Counter()
    for tensor in counted:
        elements[tensor.type.name] += tensor.elements
    order = sorted(counts, key=lambda name: (-counts[name], -elements[name], name))
    if order[:1] == ["F32"] and len(order) > 1:
        # Norms are always F32.
        order[0] = order[1]
    match order[0] if order else "":
        case "Q2_K" if order[-1] == "Q5_K":
            return "Q2_K_S"
        case "Q3_K" if counts["Q8_0"] or (counts["Q5_K"] > 1 and not counts["Q4_K"]):
            return "Q3_K_L"
        case "Q3_K":
            return "Q3_K_M" if counts["Q4_K"] > 1 else "Q3_K_S"
        case "Q4_K" if counts["Q6_K"] > 1:
            return "Q4_K_M"
        case "Q4_K":
            return "Q3_K_M" if counts["Q3_K"] > 1 else "Q4_K_S"
        case "Q5_K":
            return "Q5_K_M" if counts["Q6_K"] > 1 else "Q5_K_S"
        case "IQ2_XS" if counts["IQ4_XS"] > 1:
            return "IQ2_S"
        case "IQ2_S":
            return "IQ2_M"
        case "IQ3_S" if counts["IQ3_XXS"] > 1:
            return "IQ3_XS"
        case main:
            return main


def _tells_quantization(name: str, architecture: str) -> bool:
    if architecture == "diffusion":
        return name.endswith(".weight")
    return name.startswith(("token_embd", "blk.")) or "_norm" in name or name.endswith(".weight")

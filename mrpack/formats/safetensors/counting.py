"""How many parameters a model has, also when its quantizer packed several into one value.

Scales, zero points and other companions of a quantized tensor are not parameters and do not count; a tensor
of the same name beside one that is not quantized does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final, NamedTuple

from mrpack.formats.safetensors.dtypes import PLAIN
from mrpack.formats.safetensors.header import Shape
from mrpack.formats.safetensors.quantization import Scheme


class Stored(NamedTuple):
    """A tensor as it lies in the file."""

    dtype: str
    shape: Shape


Tensors = Mapping[str, Stored]

# MLX's own default.
_GROUP_SIZE: Final = 64
# The last part of a companion's name, and those of the tensors that it may belong to, in the same place.
_COMPANIONS: Final[Mapping[str, tuple[str, ...]]] = {
    # GPTQ, AWQ
    "qzeros": ("qweight",),
    "g_idx": ("qweight",),
    # and MLX
    "scales": ("qweight", "weight"),
    "biases": ("weight",),
    # bitsandbytes with 8 bits
    "SCB": ("weight",),
    "weight_format": ("weight",),
    # compressed-tensors, Model Optimizer, Quark, FP8
    **dict.fromkeys(
        (
            "input_global_scale",
            "input_scale",
            "input_zero_point",
            "output_scale",
            "weight_g_idx",
            "weight_global_scale",
            "weight_scale",
            "weight_scale_2",
            "weight_scale_inv",
            "weight_scales",
            "weight_shape",
            "weight_zero_point",
        ),
        ("weight", "weight_packed"),
    ),
}
# bitsandbytes with 4 bits: below the name of the tensor itself, as in `proj.weight.absmax`.
_COMPANIONS_BELOW: Final = frozenset({"absmax", "nested_absmax", "nested_quant_map", "quant_map"})
_STATE: Final = ".quant_state."


def count_parameters(tensors: Tensors, scheme: Scheme | None) -> int:
    return sum(
        _count(name, tensor, tensors, scheme)
        for name, tensor in tensors.items()
        if not _is_companion(name, tensors)
    )


def _is_companion(name: str, tensors: Tensors) -> bool:
    owner, _, last = name.rpartition(".")
    if last in _COMPANIONS:
        return any(_is_packed(f"{owner}.{base}", tensors) for base in _COMPANIONS[last])
    if last in _COMPANIONS_BELOW:
        return _is_packed(owner, tensors)
    if name.endswith("_scales"):
        return _is_packed(f"{name.removesuffix('_scales')}_blocks", tensors)
    return _STATE in name and _is_packed(name.partition(_STATE)[0], tensors)


def _is_packed(name: str, tensors: Tensors) -> bool:
    return name in tensors and tensors[name].dtype not in PLAIN


def _count(name: str, tensor: Stored, tensors: Tensors, scheme: Scheme | None) -> int:
    values = math.prod(tensor.shape)
    if tensor.dtype in PLAIN:
        return values
    owner, _, last = name.rpartition(".")
    if last == "qweight":
        return _count_qweight(tensor, owner, tensors, scheme)
    if last == "weight_packed":
        return _unpacked(values, 4 if tensor.dtype == "U8" else _bits(scheme), tensor.dtype)
    if tensor.dtype == "U32" and f"{owner}.scales" in tensors:
        # Each scale stands for a group: exact also when layers have different bits.
        return math.prod(tensors[f"{owner}.scales"].shape) * _group_size(owner, scheme)
    if tensor.dtype == "U8":
        return values * _values_a_byte(name, owner, tensors, scheme)
    return values


def _count_qweight(tensor: Stored, owner: str, tensors: Tensors, scheme: Scheme | None) -> int:
    """GPTQ packs the inputs and AWQ the outputs into 32 bits; the companions know both lengths unpacked."""
    scales, groups = tensors.get(f"{owner}.scales"), tensors.get(f"{owner}.g_idx")
    if len(tensor.shape) == 2:
        inputs, outputs = tensor.shape
        if scales and scales.shape and scales.shape[-1] != outputs:
            return inputs * scales.shape[-1]
        if groups and len(groups.shape) == 1 and groups.shape[0]:
            return groups.shape[0] * outputs
    return _unpacked(math.prod(tensor.shape), _bits(scheme), tensor.dtype)


def _values_a_byte(name: str, owner: str, tensors: Tensors, scheme: Scheme | None) -> int:
    """bitsandbytes, MXFP4 as of gpt-oss, and NVFP4 have two; BitNet has four of three values each."""
    if f"{name}.quant_map" in tensors or (
        name.endswith("_blocks") and f"{name.removesuffix('_blocks')}_scales" in tensors
    ):
        return 2
    if f"{owner}.weight_scale" in tensors:
        return 4 if scheme and scheme.method == "bitnet" else 2
    return 1


def _unpacked(values: int, bits: int, dtype: str) -> int:
    """The last value of a row may be filled up: it is counted as full."""
    return int(values * Fraction(8 if dtype == "U8" else 32, bits))


def _bits(scheme: Scheme | None) -> int:
    """Most quantized models have 4."""
    return scheme.bits if scheme and scheme.bits else 4


def _group_size(owner: str, scheme: Scheme | None) -> int:
    """That of this layer, else of all."""
    settings: Mapping[str, Any] = scheme.settings if scheme else {}
    own = settings.get(owner)
    for level in (own if isinstance(own, dict) else {}, settings):
        size = level.get("group_size")
        if isinstance(size, int) and not isinstance(size, bool) and size > 0:
            return size
    return _GROUP_SIZE

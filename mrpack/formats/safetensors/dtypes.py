"""The data types of Safetensors and how many bits each value takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# safetensors 0.8.0, `Dtype::bitsize`; checked against that package by test_safetensors_reader.
BITS: Final[Mapping[str, int]] = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "I16": 16,
    "U16": 16,
    "I32": 32,
    "U32": 32,
    "I64": 64,
    "U64": 64,
    "F16": 16,
    "BF16": 16,
    "F32": 32,
    "F64": 64,
    "C64": 64,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
}
# Data types in which a value is the value itself: never packed, never a code that needs a scale.
PLAIN: Final = frozenset({"BF16", "F16", "F32", "F64", "C64"})

"""The numbers of the GGUF format: types of header values and of tensors (llama.cpp, gguf.h and ggml.h)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from types import MappingProxyType
from typing import Final


class ValueType(IntEnum):
    """Types of metadata values, by the numbers of the GGUF specification (`gguf_metadata_value_type`)."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


# A bool is read as the byte it is stored in.
SCALARS: Final[Mapping[ValueType, Struct]] = MappingProxyType(
    {
        ValueType.UINT8: Struct("<B"),
        ValueType.INT8: Struct("<b"),
        ValueType.UINT16: Struct("<H"),
        ValueType.INT16: Struct("<h"),
        ValueType.UINT32: Struct("<I"),
        ValueType.INT32: Struct("<i"),
        ValueType.FLOAT32: Struct("<f"),
        ValueType.BOOL: Struct("<B"),
        ValueType.UINT64: Struct("<Q"),
        ValueType.INT64: Struct("<q"),
        ValueType.FLOAT64: Struct("<d"),
    }
)


@dataclass(frozen=True, slots=True)
class TensorType:
    """How elements are stored: in blocks of `block_elements`, each `block_bytes` with its scales."""

    id: int
    name: str
    block_elements: int
    block_bytes: int


_ROWS = (
    TensorType(0, "F32", 1, 4),
    TensorType(1, "F16", 1, 2),
    TensorType(2, "Q4_0", 32, 18),
    TensorType(3, "Q4_1", 32, 20),
    TensorType(6, "Q5_0", 32, 22),
    TensorType(7, "Q5_1", 32, 24),
    TensorType(8, "Q8_0", 32, 34),
    TensorType(9, "Q8_1", 32, 40),
    TensorType(10, "Q2_K", 256, 84),
    TensorType(11, "Q3_K", 256, 110),
    TensorType(12, "Q4_K", 256, 144),
    TensorType(13, "Q5_K", 256, 176),
    TensorType(14, "Q6_K", 256, 210),
    TensorType(15, "Q8_K", 256, 292),
    TensorType(16, "IQ2_XXS", 256, 66),
    TensorType(17, "IQ2_XS", 256, 74),
    TensorType(18, "IQ3_XXS", 256, 98),
    TensorType(19, "IQ1_S", 256, 50),
    TensorType(20, "IQ4_NL", 32, 18),
    TensorType(21, "IQ3_S", 256, 110),
    TensorType(22, "IQ2_S", 256, 82),
    TensorType(23, "IQ4_XS", 256, 136),
    TensorType(24, "I8", 1, 1),
    TensorType(25, "I16", 1, 2),
    TensorType(26, "I32", 1, 4),
    TensorType(27, "I64", 1, 8),
    TensorType(28, "F64", 1, 8),
    TensorType(29, "IQ1_M", 256, 56),
    TensorType(30, "BF16", 1, 2),
    TensorType(34, "TQ1_0", 256, 54),
    TensorType(35, "TQ2_0", 256, 66),
    TensorType(39, "MXFP4", 32, 17),
    TensorType(40, "NVFP4", 64, 36),
    TensorType(41, "Q1_0", 128, 18),
)
TENSOR_TYPES: Final[Mapping[int, TensorType]] = MappingProxyType({row.id: row for row in _ROWS})

# Numbers that llama.cpp gave up; it refuses files with them.
REMOVED_TENSOR_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        4: "Q4_2",
        5: "Q4_3",
        31: "Q4_0_4_4",
        32: "Q4_0_4_8",
        33: "Q4_0_8_8",
        36: "IQ4_NL_4_4",
        37: "IQ4_NL_4_8",
        38: "IQ4_NL_8_8",
    }
)

"""The tensor list of a GGUF header."""

from __future__ import annotations

import math
from collections.abc import Sequence
from struct import Struct
from typing import Final

from mrpack.formats.gguf.cursor import Cursor
from mrpack.formats.gguf.header import Tensor
from mrpack.formats.gguf.types import REMOVED_TENSOR_TYPES, TENSOR_TYPES, TensorType

# llama.cpp takes 63 bytes; its relatives for images are built with room for 160.
NAME_LIMIT: Final = 255
# GGML_MAX_DIMS of llama.cpp.
DIMENSIONS_LIMIT: Final = 4

_INT64_MAX: Final = 2**63 - 1
_U32 = Struct("<I")
# What follows the number of dimensions: the dimensions, the type, the offset.
_FIELDS = tuple(Struct(f"<{count}QIQ") for count in range(DIMENSIONS_LIMIT + 1))


def read_tensors(cursor: Cursor, count: int) -> tuple[Tensor, ...]:
    """In the order of the file; where they lie is still to be checked. Raises InvalidArtifact."""
    tensors: dict[str, Tensor] = {}
    for number in range(count):
        tensor = _read_tensor(cursor, number)
        if tensor.name in tensors:
            raise cursor.error(f"tensor {tensor.name!r}: occurs twice")
        tensors[tensor.name] = tensor
    return tuple(tensors.values())


def check_layout(cursor: Cursor, tensors: Sequence[Tensor], alignment: int, data_offset: int) -> None:
    """Tensors lie one behind the other, aligned, inside the file; llama.cpp asks for the same.

    `alignment` and `data_offset` in bytes; offsets of tensors count from `data_offset` (GGUF specification,
    "File Structure"). Raises InvalidArtifact.
    """
    expected = 0
    for tensor in tensors:
        what = f"tensor {tensor.name!r}"
        if tensor.offset % alignment:
            raise cursor.error(f"{what}: is at offset {tensor.offset}, not a multiple of {alignment}")
        if tensor.offset != expected:
            raise cursor.error(
                f"{what}: is at offset {tensor.offset}, not behind the one before at {expected}"
            )
        end = data_offset + tensor.offset + tensor.size
        if end > cursor.size:
            raise cursor.error(f"{what}: ends at byte {end}, but the file has only {cursor.size}")
        expected = tensor.offset + tensor.size + -tensor.size % alignment


def _read_tensor(cursor: Cursor, number: int) -> Tensor:
    name = cursor.name(NAME_LIMIT, f"tensor {number + 1}")
    what = f"tensor {name!r}"
    dimensions = cursor.unpack(_U32, what)
    if dimensions > DIMENSIONS_LIMIT:
        raise cursor.error(f"{what}: has {dimensions} dimensions; at most {DIMENSIONS_LIMIT} are allowed")
    fields = _FIELDS[dimensions]
    *shape, type_number, offset = fields.unpack(cursor.take(fields.size, what))
    elements = math.prod(shape)
    if max(elements, *shape, 0) > _INT64_MAX:
        raise cursor.error(f"{what}: has {' x '.join(map(str, shape))} elements, beyond 64 bits")
    tensor_type = _tensor_type(cursor, type_number, what)
    row, block = shape[0] if shape else 1, tensor_type.block_elements
    if row % block:
        raise cursor.error(
            f"{what}: has rows of {row} elements, not a multiple of the {block} in a {tensor_type.name} block"
        )
    return Tensor(name, tensor_type, tuple(shape), offset, elements // block * tensor_type.block_bytes)


def _tensor_type(cursor: Cursor, number: int, what: str) -> TensorType:
    found = TENSOR_TYPES.get(number)
    if found is None and number in REMOVED_TENSOR_TYPES:
        raise cursor.error(f"{what}: has type {REMOVED_TENSOR_TYPES[number]}, which llama.cpp has given up")
    if found is None:
        raise cursor.error(f"{what}: has the unknown type {number}")
    return found

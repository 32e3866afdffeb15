"""GGUF files put together from bytes: also such as no writer would make."""

from __future__ import annotations

import struct
from collections.abc import Sequence

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_FORMATS = {
    U8: "B",
    I8: "b",
    U16: "H",
    I16: "h",
    U32: "I",
    I32: "i",
    F32: "f",
    BOOL: "B",
    U64: "Q",
    I64: "q",
    F64: "d",
}


def string(content: str | bytes) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return struct.pack("<Q", len(content)) + content


def scalar(value_type: int, value: float | str | bytes) -> bytes:
    if isinstance(value, str | bytes):
        return string(value)
    return struct.pack(f"<{_FORMATS[value_type]}", value)


def pair(key: str | bytes, value_type: int, value: float | str | bytes) -> bytes:
    return string(key) + struct.pack("<I", value_type) + scalar(value_type, value)


def array(
    key: str | bytes, element: int, items: Sequence[float | str | bytes], length: int | None = None
) -> bytes:
    """`length`: what the file claims, when it is not the truth."""
    claimed = len(items) if length is None else length
    head = string(key) + struct.pack("<IIQ", ARRAY, element, claimed)
    return head + b"".join(scalar(element, item) for item in items)


def tensor(name: str | bytes, shape: Sequence[int], type_number: int = 0, offset: int = 0) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return string(name) + dimensions + struct.pack("<IQ", type_number, offset)


def gguf(
    keys: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    key_count: int | None = None,
    tensor_count: int | None = None,
    alignment: int = 32,
) -> bytes:
    """`alignment` only pads; counts are the true ones unless given."""
    header = magic + struct.pack(
        "<IQQ",
        version,
        len(tensors) if tensor_count is None else tensor_count,
        len(keys) if key_count is None else key_count,
    )
    header += b"".join(keys) + b"".join(tensors)
    return header + (b"\0" * (-len(header) % alignment) + data if tensors else data)

"""Safetensors files put together from bytes: also such as no writer would make."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

BITS = {"F4": 4, "F6_E2M3": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E8M0": 8, "BF16": 16, "F16": 16}
BITS |= {"I16": 16, "F32": 32, "I32": 32, "U32": 32, "F64": 64, "I64": 64}


class Content(NamedTuple):
    """A tensor; without `raw` it is zeros."""

    dtype: str
    shape: Sequence[int]
    raw: bytes | None = None

    def to_bytes(self) -> bytes:
        return bytes(math.prod(self.shape) * BITS[self.dtype] // 8) if self.raw is None else self.raw


def entry(dtype: str, shape: Sequence[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def file(header: Mapping[str, Any] | str | bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    """`length`: what the file claims, when it is not the truth."""
    if not isinstance(header, str | bytes):
        header = json.dumps(header, separators=(",", ":"))
    raw = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def safetensors(tensors: Mapping[str, Content], metadata: Mapping[str, str] | None = None) -> bytes:
    """As the safetensors library lays it out: metadata first, the header padded to 8 bytes."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    data = bytearray()
    for name, tensor in tensors.items():
        raw = tensor.to_bytes()
        header[name] = entry(tensor.dtype, tensor.shape, len(data), len(data) + len(raw))
        data += raw
    text = json.dumps(header, separators=(",", ":"))
    return file(text + " " * (-len(text) % 8), bytes(data))


def index(weight_map: Mapping[str, str], **metadata: Any) -> str:
    return json.dumps({"metadata": metadata, "weight_map": dict(weight_map)}, indent=2) + "\n"

"""The bounded Safetensors reader: what a header promises is checked against the file before it counts."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from re import Pattern
from struct import Struct
from typing import Final

from mrpack.errors import InvalidArtifact
from mrpack.formats.safetensors.dtypes import BITS
from mrpack.formats.safetensors.header import SafetensorsHeader, Shape, Tensor
from mrpack.formats.safetensors.scanner import Scanner
from mrpack.readable import ReadableFile, ReadAt, open_file

# safetensors 0.8.0, `MAX_HEADER_SIZE`.
HEADER_LIMIT: Final = 100_000_000
# The largest published shards have some thousands; half a second for so many.
COUNT_LIMIT: Final = 65_536
NAME_LIMIT: Final = 1024
METADATA_KEYS_LIMIT: Final = 65_536
# NumPy, too, has at most 64.
DIMENSIONS_LIMIT: Final = 64

_LENGTH = Struct("<Q")
# Most headers are shorter: one read for length and header.
_FIRST_READ: Final = 64 * 1024
_INT64_MAX: Final = 2**63 - 1

# What people hand over instead, by its first bytes.
_LOOKALIKES: Final = (
    (b"GGUF", "a GGUF file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    *((bytes((0x80, protocol)), "a pickle") for protocol in (2, 3, 4, 5)),
)

_S: Final = rb"[ \t\n\r]*+"
_N: Final = rb"(?:0|[1-9][0-9]{0,19}+)"
_C: Final = _S + b"," + _S
_COLON: Final = _S + b":" + _S
_MORE_N: Final = b"(?:" + _C + _N + b"){0,%d}+" % (DIMENSIONS_LIMIT - 1)
_FIELDS: Final = (
    rb'"dtype"' + _COLON + rb'"([A-Z0-9_]{1,16}+)"',
    rb'"shape"' + _COLON + rb"\[(" + _S + b"(?:" + _N + _MORE_N + _S + rb")?+)\]",
    rb'"data_offsets"' + _COLON + rb"\[" + _S + b"(" + _N + b")" + _C + b"(" + _N + b")" + _S + rb"\]",
)


def _tensor_pattern(fields: Iterable[bytes]) -> Pattern[bytes]:
    return re.compile(rb"\{" + _S + _C.join(fields) + _S + rb"\}" + _S)


# As every writer has them: groups are dtype, shape, begin, end.
_TENSOR: Final = _tensor_pattern(_FIELDS)
# In any order: the same four groups, three times over.
_TENSOR_IN_ANY_ORDER: Final = _tensor_pattern([b"(?:" + b"|".join(_FIELDS) + b")"] * 3)


@dataclass(frozen=True, slots=True)
class _Kind:
    """Data type and shape; layers repeat them, so each is checked and kept once."""

    dtype: str
    shape: Shape
    size: int


def read_header(path: Path) -> SafetensorsHeader:
    """The header of a file on disk; tensor data is never read.

    Raises:
        InvalidArtifact: not a regular file, or not a Safetensors file; says what is wrong.
        NotFound: there is no such file.
    """
    return parse_file(open_file(path))


def parse_file(file: ReadableFile) -> SafetensorsHeader:
    return parse_header(file.read_at, file.size, file.where)


def parse_header(read_at: ReadAt, size: int, where: str) -> SafetensorsHeader:
    """The header of a content of `size` bytes; `where` names it in errors.

    Stricter than the safetensors library: no key may occur twice, no field be unknown, and limits are lower.
    Time and memory follow the header bytes that are really there.

    Raises:
        InvalidArtifact: whatever is wrong; no other error comes from the content.
    """
    start = read_at(0, min(size, _FIRST_READ))
    length = _header_length(start, size, where)
    content = start[_LENGTH.size : _LENGTH.size + length]
    if len(content) < length:
        content += read_at(_LENGTH.size + len(content), length - len(content))
    if len(content) < length:
        raise InvalidArtifact("became shorter while it was read", where=where)
    scanner = Scanner(content, where)
    tensors, metadata = _read_entries(scanner)
    _check_layout(scanner, tensors, size - _LENGTH.size - length)
    return SafetensorsHeader(
        tensors=tensors, metadata=metadata, data_offset=_LENGTH.size + length, file_size=size
    )


def _header_length(start: bytes, size: int, where: str) -> int:
    if len(start) <= _LENGTH.size:
        raise InvalidArtifact(f"not a Safetensors file: it has {size} bytes", where=where)
    length: int = _LENGTH.unpack_from(start)[0]
    if start[_LENGTH.size] != ord("{") or length > HEADER_LIMIT:
        raise InvalidArtifact(f"not a Safetensors file but {_describe(start)}", where=where)
    if length > size - _LENGTH.size:
        raise InvalidArtifact(
            f"header of {length} bytes, but the file has only {size - _LENGTH.size} more", where=where
        )
    return length


def _describe(start: bytes) -> str:
    if start[_LENGTH.size] == ord("{"):
        length = _LENGTH.unpack_from(start)[0]
        return f"one that claims a header of {length} bytes; at most {HEADER_LIMIT} are allowed"
    for prefix, description in _LOOKALIKES:
        if start.startswith(prefix):
            return description
    return f"something that starts with {start[: _LENGTH.size + 2]!r}"


def _read_entries(scanner: Scanner) -> tuple[tuple[Tensor, ...], dict[str, str]]:
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] | None = None
    kinds: dict[tuple[bytes, bytes], _Kind] = {}
    for name in scanner.keys("header"):
        if name == "__metadata__":
            if metadata is not None:
                raise scanner.error("__metadata__: occurs twice")
            metadata = scanner.texts("__metadata__", limit=METADATA_KEYS_LIMIT)
            continue
        if name in tensors:
            raise scanner.error(f"tensor {name[:80]!r}: occurs twice")
        if len(name) > NAME_LIMIT:
            raise scanner.error(f"tensor {name[:80]!r}…: has a name of more than {NAME_LIMIT} characters")
        if len(tensors) == COUNT_LIMIT:
            raise scanner.error(f"more than {COUNT_LIMIT} tensors")
        tensors[name] = _read_tensor(scanner, name, kinds)
    scanner.finish("header")
    return tuple(tensors.values()), metadata or {}


def _read_tensor(scanner: Scanner, name: str, kinds: dict[tuple[bytes, bytes], _Kind]) -> Tensor:
    match = scanner.find(_TENSOR)
    dtype, shape, begin, end = match.groups() if match else _fields_in_any_order(scanner, name)
    kind = kinds.get((dtype, shape))
    if kind is None:
        kind = kinds[dtype, shape] = _check_kind(scanner, name, dtype, shape)
    tensor = Tensor(name, kind.dtype, kind.shape, int(begin), int(end))
    if tensor.size != kind.size:
        raise scanner.error(
            f"tensor {name[:80]!r}: {_dimensions(kind.shape)} values of {kind.dtype} are {kind.size} bytes, "
            f"but its place is {tensor.begin} to {tensor.end}"
        )
    return tensor


def _fields_in_any_order(scanner: Scanner, name: str) -> tuple[bytes, bytes, bytes, bytes]:
    match = scanner.find(_TENSOR_IN_ANY_ORDER)
    groups = match.groups() if match else ()
    found = [[value for value in groups[index::4] if value is not None] for index in range(4)]
    if any(len(values) != 1 for values in found):
        raise scanner.error(f"tensor {name[:80]!r}: is not described by dtype, shape and data_offsets alone")
    dtype, shape, begin, end = (values[0] for values in found)
    return dtype, shape, begin, end


def _check_kind(scanner: Scanner, name: str, dtype: bytes, dimensions: bytes) -> _Kind:
    what = f"tensor {name[:80]!r}"
    bits = BITS.get(dtype.decode())
    if bits is None:
        raise scanner.error(f"{what}: has the unknown data type {dtype.decode()}")
    shape = tuple(map(int, dimensions.split(b","))) if dimensions.strip() else ()
    # As a loader multiplies: a zero behind an overflow does not help.
    if math.prod(length or 1 for length in shape) * bits > _INT64_MAX:
        raise scanner.error(f"{what}: has {_dimensions(shape)} values, beyond 64 bits")
    size, rest = divmod(math.prod(shape) * bits, 8)
    if rest:
        raise scanner.error(f"{what}: {_dimensions(shape)} values of {bits} bits end inside a byte")
    return _Kind(sys.intern(dtype.decode()), shape, size)


def _dimensions(shape: Shape) -> str:
    return " x ".join(map(str, shape))[:80] or "1"


def _check_layout(scanner: Scanner, tensors: Sequence[Tensor], data_size: int) -> None:
    """Tensors fill the data from its first byte to its last: no overlap, no hole, nothing behind."""
    expected = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.begin, tensor.end)):
        if tensor.begin != expected:
            problem = "a hole lies before it" if tensor.begin > expected else "it overlaps the one before"
            raise scanner.error(
                f"tensor {tensor.name[:80]!r}: begins at {tensor.begin}, not {expected}: {problem}"
            )
        expected = tensor.end
    if expected != data_size:
        problem = "is cut short" if expected > data_size else "has more"
        raise scanner.error(f"tensors end at byte {expected} of the data, which {problem}: {data_size} bytes")

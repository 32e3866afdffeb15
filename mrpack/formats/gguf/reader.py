"""The bounded GGUF reader: no number in a header is believed before it is checked against the file's size."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from struct import Struct
from typing import Final

from mrpack.errors import InvalidArtifact, from_os_error
from mrpack.formats.gguf.cursor import Cursor, ReadAt
from mrpack.formats.gguf.header import GgufHeader
from mrpack.formats.gguf.tensors import check_layout, read_tensors
from mrpack.formats.gguf.values import find_alignment, read_values

# Of keys, and of tensors: published models have some thousands; 200,000 keys would cost half a second.
COUNT_LIMIT: Final = 65_536

_SUPPORTED_VERSIONS: Final = frozenset({2, 3})
_PREAMBLE = Struct("<4sIQQ")
# The smallest key: length, one byte, type, one byte of value. The smallest tensor: length, one byte, number
# of dimensions, type, offset.
_KEY_BYTES: Final = 8 + 1 + 4 + 1
_TENSOR_BYTES: Final = 8 + 1 + 4 + 4 + 8

# What people hand over instead, by its first bytes.
_LOOKALIKES: Final = (
    (b"FUGG", "a big-endian file; only little-endian ones are supported"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    (b"lmgg", "a GGML file from before GGUF"),
    (b"fmgg", "a GGML file from before GGUF"),
    (b"tjgg", "a GGML file from before GGUF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
)


def read_header(path: Path) -> GgufHeader:
    """The header of a GGUF file; tensor data is never read.

    Raises:
        InvalidArtifact: not a regular file, or not a GGUF file that llama.cpp would open; says what is wrong.
        NotFound: there is no such file.
    """
    try:
        # Opening a pipe must not wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise from_os_error(error, "read GGUF header") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidArtifact("not a regular file", where=str(path))
        return parse_header(
            lambda offset, count: os.pread(descriptor, count, offset), status.st_size, str(path)
        )
    except OSError as error:
        raise from_os_error(error, "read GGUF header") from error
    finally:
        os.close(descriptor)


def parse_header(read_at: ReadAt, size: int, where: str) -> GgufHeader:
    """The header of a content of `size` bytes; `where` names it in errors.

    Time and memory follow the header bytes that are really there.

    Raises:
        InvalidArtifact: whatever is wrong; no other error comes from the content.
    """
    cursor = Cursor(read_at, size, where)
    version, tensor_count, key_count = _read_preamble(cursor)
    values = read_values(cursor, key_count)
    alignment = find_alignment(cursor, values)
    tensors = read_tensors(cursor, tensor_count)
    header_size = cursor.position
    data_offset = header_size
    if tensors:
        data_offset += -header_size % alignment
        check_layout(cursor, tensors, alignment, data_offset)
    return GgufHeader(
        version=version,
        values=values,
        tensors=tensors,
        alignment=alignment,
        header_size=header_size,
        data_offset=data_offset,
        file_size=size,
    )


def _read_preamble(cursor: Cursor) -> tuple[int, int, int]:
    """Version, number of tensors, number of keys."""
    start = cursor.take(min(cursor.size, _PREAMBLE.size), "preamble")
    if not start.startswith(b"GGUF"):
        raise cursor.error(f"not a GGUF file but {_describe(start)}")
    if len(start) < _PREAMBLE.size:
        raise cursor.error(f"not a whole GGUF file: it ends after {len(start)} bytes")
    _, version, tensor_count, key_count = _PREAMBLE.unpack(start)
    if version and version & 0xFFFF == 0:
        raise cursor.error("a big-endian GGUF file; only little-endian ones are supported")
    if version not in _SUPPORTED_VERSIONS:
        raise cursor.error(f"GGUF version {version} is not supported; versions 2 and 3 are")
    for name, count in (("tensors", tensor_count), ("keys", key_count)):
        if count > COUNT_LIMIT:
            raise cursor.error(f"claims {count} {name}; at most {COUNT_LIMIT} are allowed")
    promised = key_count * _KEY_BYTES + tensor_count * _TENSOR_BYTES
    cursor.require(promised, f"{key_count} keys and {tensor_count} tensors")
    return version, tensor_count, key_count


def _describe(start: bytes) -> str:
    for prefix, description in _LOOKALIKES:
        if start.startswith(prefix):
            return description
    return f"something that starts with {start[:4]!r}" if start else "an empty file"

"""The keys and values of a GGUF header."""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

from mrpack.formats.gguf.cursor import STRING_LIMIT, Cursor
from mrpack.formats.gguf.header import GgufArray, Scalar, Value
from mrpack.formats.gguf.types import SCALARS, ValueType

# Arrays up to this length are kept, since labels show them (docs/formats.md, "GGUF labels").
KEPT_ARRAY_LENGTH: Final = 50
# GGUF specification, "gguf_metadata_kv_t".
KEY_LIMIT: Final = 65_535
# GGUF specification, "general.alignment"; the upper limit is ours, writers use 32.
DEFAULT_ALIGNMENT: Final = 32
ALIGNMENT_LIMIT: Final = 64 * 1024

_U32 = Struct("<I")
_U64 = Struct("<Q")


def read_values(cursor: Cursor, count: int) -> dict[str, Value]:
    """Metadata in the order of the file. Raises InvalidArtifact: cut, malformed, or a key occurs twice."""
    values: dict[str, Value] = {}
    for number in range(count):
        key = cursor.name(KEY_LIMIT, f"key {number + 1}")
        what = f"key {key[:80]!r}"
        if key in values:
            raise cursor.error(f"{what}: occurs twice")
        value_type = _read_type(cursor, what)
        if key == "general.alignment" and value_type is not ValueType.UINT32:
            raise cursor.error(f"{what}: is of type {value_type.name}, not UINT32")
        if value_type is ValueType.ARRAY:
            values[key] = _read_array(cursor, what)
        else:
            values[key] = _read_scalar(cursor, value_type, what)
    return values


def find_alignment(cursor: Cursor, values: dict[str, Value]) -> int:
    """In bytes. Raises InvalidArtifact when it is no power of two, or above ALIGNMENT_LIMIT."""
    alignment = values.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= ALIGNMENT_LIMIT or alignment.bit_count() != 1:
        raise cursor.error(f"general.alignment: {alignment} is not a power of two up to {ALIGNMENT_LIMIT}")
    return alignment


def _read_type(cursor: Cursor, what: str) -> ValueType:
    number = cursor.unpack(_U32, what)
    try:
        return ValueType(number)
    except ValueError:
        raise cursor.error(f"{what}: has the unknown value type {number}") from None


def _read_scalar(cursor: Cursor, value_type: ValueType, what: str) -> Scalar:
    if value_type is ValueType.STRING:
        return _read_text(cursor, what)
    value: int | float = cursor.unpack(SCALARS[value_type], what)
    return _bool(cursor, value, what) if value_type is ValueType.BOOL else value


def _read_text(cursor: Cursor, what: str) -> str:
    return cursor.string(STRING_LIMIT, what).decode(errors="surrogateescape")


def _bool(cursor: Cursor, value: Any, what: str) -> bool:
    if value not in {0, 1}:
        raise cursor.error(f"{what}: is a bool with the value {value}")
    return bool(value)


def _read_array(cursor: Cursor, what: str) -> GgufArray:
    element = _read_type(cursor, what)
    length: int = cursor.unpack(_U64, what)
    if element is ValueType.ARRAY:
        raise cursor.error(f"{what}: is an array of arrays")
    if element is ValueType.STRING:
        if length <= KEPT_ARRAY_LENGTH:
            return GgufArray(element, length, tuple(_read_text(cursor, what) for _ in range(length)))
        cursor.skip_strings(length, what)
        return GgufArray(element, length, None)
    struct = SCALARS[element]
    if length > KEPT_ARRAY_LENGTH:
        cursor.skip(length * struct.size, what)
        return GgufArray(element, length, None)
    items = tuple(item for (item,) in struct.iter_unpack(cursor.take(length * struct.size, what)))
    if element is ValueType.BOOL:
        items = tuple(_bool(cursor, item, what) for item in items)
    return GgufArray(element, length, items)

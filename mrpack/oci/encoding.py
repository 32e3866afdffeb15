"""JSON as OCI tools exchange it: strict on the way in, Go's exact bytes on the way out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from mrpack.errors import InvalidArtifact

# distribution-spec 1.1, "Pushing manifests": registries take at least 4 MiB.
MANIFEST_LIMIT: Final = 4 * 1024 * 1024
# A config may carry a whole chat template and the metadata of a model; no tokenizer.
CONFIG_LIMIT: Final = 8 * 1024 * 1024

# A parsed value takes up to 100 bytes for each of its own. Manifests of 20,000 layers have a third as many.
_VALUES_LIMIT: Final = 600_000

_INT64_MAX: Final = 2**63 - 1

# encoding/json of Go escapes these for HTML (docs/formats.md, "Serialisation").
_GO_ESCAPES: Final = str.maketrans(
    {"&": "\\u0026", "<": "\\u003c", ">": "\\u003e", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def encode(value: Any) -> bytes:
    """Compact JSON with the bytes of Go's `json.Marshal`: HTML escapes, raw UTF-8, dict order kept.

    Lone surrogates, which stand for undecodable bytes, become `\\ufffd` as Go writes them.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = text.translate(_GO_ESCAPES)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return "".join("\\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text).encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise ValueError(f"duplicate key {twice[:80]!r}")
    return result


def _check_surrogates(value: Any) -> None:
    """Half of a pair, which JSON can spell, can be neither printed nor written: better known now."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate") from None


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"number beyond a double: {text[:24]}")
    return value


def _bounded_int(text: str) -> int:
    if len(text) > 20 or not -_INT64_MAX - 1 <= (value := int(text)) <= _INT64_MAX:
        raise ValueError(f"number beyond 64 bits: {text[:24]}")
    return value


@contextmanager
def parsing(where: str) -> Iterator[None]:
    """What is wrong with JSON inside is the document's fault. Raises InvalidArtifact."""
    try:
        yield
    except RecursionError:
        raise InvalidArtifact("nested too deeply", where=where) from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise InvalidArtifact(f"not JSON: {str(error)[:160]}", where=where) from None


def as_object(value: Any, where: str) -> dict[str, Any]:
    """Raises InvalidArtifact: it is something else."""
    if not isinstance(value, dict):
        raise InvalidArtifact("not a JSON object", where=where)
    return value


def decode_object(raw: bytes, where: str, *, limit: int = MANIFEST_LIMIT) -> dict[str, Any]:
    """A JSON object from untrusted bytes; `where` names the document in errors, `limit` is in bytes.

    Raises:
        InvalidArtifact: not UTF-8 nor fit for it, not JSON, not an object, too large, too many values,
            duplicate keys, NaN, a number beyond 64 bits, or nested too deeply.
    """
    if len(raw) > limit:
        raise InvalidArtifact(f"{len(raw)} bytes, more than the limit of {limit}", where=where)
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > _VALUES_LIMIT:
        raise InvalidArtifact(f"more than {_VALUES_LIMIT} values", where=where)
    with parsing(where):
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_bounded_int,
            parse_float=_finite,
        )
        if b"\\ud" in raw or b"\\uD" in raw:
            _check_surrogates(value)
    return as_object(value, where)


def text_field(obj: dict[str, Any], key: str, where: str) -> str:
    """The string under `key`; raises InvalidArtifact when it is missing or something else."""
    value = obj.get(key)
    if not isinstance(value, str):
        raise InvalidArtifact("missing" if value is None else "not a string", where=f"{where}.{key}")
    return value


def size_field(obj: dict[str, Any], key: str, where: str) -> int:
    """The non-negative integer under `key`, in bytes; raises InvalidArtifact for others, bools and floats."""
    value = obj.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidArtifact(f"not a size: {str(value)[:40]}", where=f"{where}.{key}")
    return value


def string_map(value: Any, where: str) -> dict[str, str]:
    """A string to string object; None counts as empty (Go writes null for a nil map).

    Raises InvalidArtifact for all else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict) or not {*map(type, value.values())} <= {str}:
        raise InvalidArtifact("not an object of strings", where=where)
    return value

"""Optional fields of JSON documents that others wrote: missing and null are empty, as in Go.

A value of another type raises InvalidArtifact with its JSON path, which begins with `where`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mrpack.errors import InvalidArtifact


def text_at(obj: Mapping[str, Any], key: str, where: str) -> str:
    value = obj.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidArtifact("not a string", where=f"{where}.{key}")
    return value or ""


def object_at(obj: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = obj.get(key)
    if value is not None and not isinstance(value, dict):
        raise InvalidArtifact("not an object", where=f"{where}.{key}")
    return value or {}


def objects_at(obj: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    value = obj.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidArtifact("not a list of objects", where=f"{where}.{key}")
    return value

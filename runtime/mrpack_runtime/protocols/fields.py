"""Fields of a request: of the right kind, or refused by their name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mrpack.model.overrides.kinds import INT32_MAX, is_whole
from mrpack_runtime.protocols.refusal import RequestRefused


def as_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestRefused(f"{where} must be an object", param=where)
    return value


def as_list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise RequestRefused(f"{where} must be a list", param=where)
    return value


def as_text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise RequestRefused(f"{where} must be a text", param=where)
    return value


def as_whole(value: Any, where: str, *, least: int) -> int:
    """Up to what engines keep in 32 bits."""
    if not is_whole(value) or not least <= value <= INT32_MAX:
        raise RequestRefused(f"{where} must be a whole number from {least} to {INT32_MAX}", param=where)
    return int(value)


def as_switch(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise RequestRefused(f"{where} must be true or false", param=where)
    return value


def as_word(value: Any, where: str, words: Collection[str]) -> str:
    """One of `words`."""
    if not isinstance(value, str) or value not in words:
        raise RequestRefused(f"{where} must be one of {', '.join(words)}", param=where)
    return value


def as_objects(value: Any, where: str) -> list[dict[str, Any]]:
    return [as_object(item, f"{where}[{i}]") for i, item in enumerate(as_list(value, where))]


def as_texts(value: Any, where: str) -> list[str]:
    """One text, or a list of them."""
    if isinstance(value, str):
        return [value]
    return [as_text(item, f"{where}[{i}]") for i, item in enumerate(as_list(value, where))]

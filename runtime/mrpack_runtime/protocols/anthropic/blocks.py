"""Blocks of a user's message, or of what a tool gave, as parts of a chat: texts and pictures."""

from __future__ import annotations

from typing import Any

from mrpack.errors import Unsupported
from mrpack_runtime.protocols import JsonObject
from mrpack_runtime.protocols.fields import as_object, as_objects, as_text
from mrpack_runtime.protocols.refusal import RequestRefused


def to_part(block: JsonObject, where: str) -> JsonObject:
    """Raises RequestRefused, and Unsupported for kinds that no engine takes."""
    match block.get("type"):
        case "text":
            return _text(as_text(block.get("text"), f"{where}.text"))
        case "image":
            return {"type": "image_url", "image_url": {"url": _data_url(block, f"{where}.source")}}
        case "document":
            source = as_object(block.get("source"), f"{where}.source")
            return _text(_headed(block, ("title", "context"), _document(source, where), where))
        case "search_result":
            return _text(_headed(block, ("title", "source"), _texts(block.get("content"), where), where))
        case kind:
            raise unknown(kind, where)


def unknown(kind: Any, where: str) -> Unsupported:
    return Unsupported(f"{where}: blocks of type {str(kind)[:60]!r} are not understood")


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}


def _headed(block: JsonObject, names: tuple[str, ...], text: str, where: str) -> str:
    """With what is said about it in front, which is for the model, too."""
    heads = [as_text(block[name], f"{where}.{name}") for name in names if block.get(name)]
    return "\n".join((*heads, text))


def _document(source: JsonObject, where: str) -> str:
    match source.get("type"):
        case "text":
            return as_text(source.get("data"), f"{where}.source.data")
        case "content":
            return _texts(source.get("content"), f"{where}.source")
        case _:
            raise Unsupported(f"{where}: documents come as text here")


def _texts(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    place = f"{where}.content"
    blocks = as_objects(content, place)
    return "\n".join(as_text(block.get("text"), f"{place}[{i}].text") for i, block in enumerate(blocks))


def _data_url(block: JsonObject, where: str) -> str:
    source = as_object(block.get("source"), where)
    if source.get("type") != "base64":
        raise RequestRefused(
            "images must come in the request, as base64; nothing is fetched", param=f"{where}.type"
        )
    media_type = as_text(source.get("media_type"), f"{where}.media_type")
    return f"data:{media_type};base64,{as_text(source.get('data'), f'{where}.data')}"

"""What Ollama's clients are told of models: tags, show, ps, and progress."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from mrpack.oci.descriptor import Descriptor
from mrpack_runtime.models.library import LibraryEntry
from mrpack_runtime.protocols import JsonObject

API_VERSION: Final = "0.22.0"
"""The Ollama whose fields these are; its news is `think: "max"`. From 0.30.0 on `/api/tags` has what each
model can do, for which only `/api/show` looks closely enough here. Source: api/types.go of its releases.

Clients ask for no more: VS Code's Copilot for 0.6.4, Codex for 0.13.4, which has Responses, clients of
Anthropic's messages for 0.14.0.
"""
# Ollama calls what stays for ever a date in the far future, too.
_FOR_EVER: Final = 4102444800.0  # 2100-01-01


def tag_json(entry: LibraryEntry, name: str) -> JsonObject:
    """One for each name of a model."""
    return {
        "name": name,
        "model": name,
        "modified_at": timestamp(entry.created),
        "size": entry.size,
        "digest": entry.digest.hex,
        "details": {**details(entry), **_context(entry)},
    }


def show_json(entry: LibraryEntry, capabilities: list[str], settings: str) -> JsonObject:
    """`settings`: what requests get that leave it open, one a line."""
    config = entry.config
    model: JsonObject = {"general.architecture": config.architecture, **config.metadata}
    if config.context_size is not None:
        model[f"{config.architecture or 'general'}.context_length"] = config.context_size
    return {
        "modelfile": f"FROM {entry.id}\n",
        "parameters": settings,
        "template": config.metadata.get("tokenizer.chat_template", ""),
        "details": details(entry),
        "model_info": {key: _number(value) for key, value in model.items() if value != ""},
        "capabilities": capabilities,
        "modified_at": timestamp(entry.created),
    }


def running_json(
    entry: LibraryEntry, name: str, *, expires: float | None, context: int | None, vram: int
) -> JsonObject:
    """`expires`: Unix seconds; None: never. `vram`: bytes on GPUs."""
    return {
        "name": name,
        "model": name,
        "size": entry.size,
        "digest": entry.digest.hex,
        "details": details(entry),
        "expires_at": timestamp(_FOR_EVER if expires is None else expires),
        "size_vram": vram,
        "context_length": context or 0,
    }


def details(entry: LibraryEntry) -> JsonObject:
    config = entry.config
    return {
        "parent_model": "",
        "format": config.format,
        "family": config.architecture,
        "families": [config.architecture] if config.architecture else [],
        "parameter_size": config.parameters,
        "quantization_level": config.quantization,
    }


def _context(entry: LibraryEntry) -> JsonObject:
    """Of the settings, or else the model's own."""
    config = entry.config
    length = config.context_size or _number(config.metadata.get(f"{config.architecture}.context_length", ""))
    return {"context_length": length} if length else {}


def timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class StatusLines:
    """`verb`: `pulling` or `pushing`."""

    verb: str
    content_type: str = "application/x-ndjson"

    def moved(self, blob: Descriptor, position: int, total: int) -> bytes:
        del total  # Ollama counts a layer at a time
        status = f"{self.verb} {blob.digest.short}"
        return _line(
            {"status": status, "digest": str(blob.digest), "total": blob.size, "completed": position}
        )

    def done(self, result: str) -> list[bytes]:
        del result
        return [_line({"status": "success"})]

    def failed(self, error: dict[str, Any]) -> list[bytes]:
        return [_line({"error": error["message"]})]


def _line(content: JsonObject) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode(errors="backslashreplace")


def _number(value: Any) -> Any:
    """Header values are kept as text."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value

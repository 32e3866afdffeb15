"""Docker Model Runner's words: models, progress, and the settings of `_configure`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mrpack.errors import InvalidArtifact, Unsupported
from mrpack.model.overrides import BY_KEY, Overrides, check_settings, from_hf_overrides
from mrpack.oci.descriptor import Descriptor
from mrpack_runtime.models.library import LibraryEntry
from mrpack_runtime.protocols import JsonObject
from mrpack_runtime.protocols.fields import as_object, as_text, as_texts
from mrpack_runtime.protocols.refusal import RequestRefused

# Fields of a `_configure` body that are one setting each.
_FIELDS: Final = {"context-size": "context_size", "keep_alive": "keep_alive", "mode": "mode"}
_ENGINE_FIELDS: Final = {
    "vllm": {"gpu-memory-utilization": "vllm.gpu_memory_utilization"},
    "llamacpp": {"reasoning-budget": "llamacpp.reasoning_budget"},
}
# Flags whose setting has another name; any other is that of the engine's group with the same words.
_FLAGS: Final = {
    "ctx_size": "context_size",
    "max_model_len": "context_size",
    "temp": "sampling.temperature",
    "temperature": "sampling.temperature",
    "top_k": "sampling.top_k",
    "top_p": "sampling.top_p",
    "min_p": "sampling.min_p",
    "repeat_penalty": "sampling.repeat_penalty",
    "seed": "sampling.seed",
}


DOCKERS_CLIENT: Final = "docker-model-cli/"
"""How the User-Agent of `docker model` begins."""


def status_for_docker(words: str) -> str:
    """Its client takes `Available`, for which it has no word, for an error."""
    kind, _, detail = words.partition(": ")
    return f"Running: {detail}" if kind == "Available" else words


def model_json(entry: LibraryEntry) -> JsonObject:
    config = entry.config
    facts: JsonObject = {
        "format": config.format,
        "quantization": config.quantization,
        "parameters": config.parameters,
        "architecture": config.architecture,
        "size": config.size,
        config.format: dict(config.metadata),
        "context_size": config.context_size,
    }
    return {
        "id": str(entry.digest),
        "tags": list(entry.names),
        "created": entry.created,
        "config": {name: value for name, value in facts.items() if name and value},
    }


@dataclass(frozen=True, slots=True)
class ProgressLines:
    """`mode`: `pull` or `push`."""

    mode: str
    content_type: str = "application/json"

    def moved(self, blob: Descriptor, position: int, total: int) -> bytes:
        words = "Downloaded" if self.mode == "pull" else "Uploaded"
        layer = {"id": str(blob.digest), "size": blob.size, "current": position}
        return self._line("progress", f"{words}: {position} of {blob.size} bytes", total, layer)

    def done(self, result: str) -> list[bytes]:
        words = "Model pulled successfully" if self.mode == "pull" else "Model pushed successfully"
        return [self._line("success", f"{words}: {result}", 0, {"id": "", "size": 0, "current": 0})]

    def failed(self, error: dict[str, Any]) -> list[bytes]:
        return [self._line("error", error["message"], 0, {"id": "", "size": 0, "current": 0})]

    def _line(self, kind: str, message: str, total: int, layer: JsonObject) -> bytes:
        content = {"type": kind, "message": message, "total": total, "layer": layer, "mode": self.mode}
        return json.dumps(content).encode()


def parse_settings(body: JsonObject, group: str) -> Overrides:
    """What a `_configure` body sets; `group` is that of the engine's own settings, for flags.

    Raises RequestRefused and Unsupported.
    """
    if body.get("speculative"):
        raise Unsupported("speculative decoding needs a draft model, which this gateway does not take")
    values = {key: body[name] for name, key in _FIELDS.items() if body.get(name) is not None}
    for part, fields in _ENGINE_FIELDS.items():
        given = as_object(body.get(part) or {}, part)
        values |= {key: given[name] for name, key in fields.items() if given.get(name) is not None}
    flags = as_texts(body.get("runtime-flags") or [], "runtime-flags")
    raw = body.get("raw-runtime-flags")
    if raw:
        try:
            flags = [*flags, *shlex.split(as_text(raw, "raw-runtime-flags"))]
        except ValueError as error:
            raise RequestRefused(f"raw-runtime-flags: {error}", param="raw-runtime-flags") from error
    values |= _flags(flags, group)
    where = "vllm.hf-overrides"
    replaced = as_object((body.get("vllm") or {}).get("hf-overrides") or {}, where)
    try:
        return from_hf_overrides(replaced, where).with_settings(check_settings(values, "_configure"))
    except InvalidArtifact as error:
        raise RequestRefused(error.message, hint=error.hint) from error


def configured_json(backend: str, entry: LibraryEntry, overrides: Overrides) -> JsonObject:
    """Keys as Go writes them, where its program forgot to say otherwise; `overrides` is all, in our words."""
    values = overrides.values
    config: JsonObject = {
        name: values[key] for name, key in _FIELDS.items() if key in values and name != "mode"
    }
    for part, fields in _ENGINE_FIELDS.items():
        found = {name: values[key] for name, key in fields.items() if key in values}
        if found:
            config[part] = found
    return {
        "Backend": backend,
        "Model": entry.id,
        "ModelID": str(entry.digest),
        "Mode": values.get("mode") or "completion",
        "Config": config,
        "overrides": overrides.to_json(),
    }


def _flags(flags: list[str], group: str) -> Mapping[str, Any]:
    """Engine flags as settings: `--name value`, `--name=value`, or a switch alone."""
    values: dict[str, Any] = {}
    waiting = list(flags)
    while waiting:
        flag = waiting.pop(0)
        name, equals, text = flag.lstrip("-").partition("=")
        word = name.replace("-", "_")
        key = _FLAGS.get(word, f"{group}.{word}")
        setting = BY_KEY.get(key)
        if not flag.startswith("--") or setting is None:
            raise RequestRefused(
                f"{flag[:60]!r} is not a setting of this engine", hint="docs/overrides.md lists them"
            )
        if not equals:
            is_switch = not waiting or (waiting[0].startswith("--") and not waiting[0][2:].isdecimal())
            text = "true" if is_switch else waiting.pop(0)
        try:
            values[key] = setting.kind.read(text)
        except (ValueError, RecursionError):
            values[key] = text
    return values

"""The models that can be asked for, as OpenAI and Anthropic list them, with Docker Model Runner's facts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mrpack.digest import Digest
from mrpack.errors import NotFound, UsageError
from mrpack.model.config import ModelConfig
from mrpack_runtime.gateway.errors import ModelNotFound
from mrpack_runtime.models.library import LibraryEntry
from mrpack_runtime.protocols.abilities import describe_abilities
from mrpack_runtime.protocols.refusal import RequestRefused

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Call
    from mrpack_runtime.gateway.exchange import Reply

_OWNER: Final = "mrpack"


async def list_models(call: Call) -> Reply:
    """GET …/models: everything in the library, whatever engine the path names."""
    entries = await call.entries()
    data = await _to_json(call, entries)
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return call.json({"object": "list", "data": data, "has_more": False, "first_id": first, "last_id": last})


async def show_model(call: Call) -> Reply:
    """GET …/models/{model}: by any name that a request may use; a full one is its `id`."""
    name = call.match.name
    entry = await find_entry(call, name)
    (found,) = await _to_json(call, (entry,))
    return call.json(found | ({"id": name} if name in entry.names else {}))


async def find_entry(call: Call, name: str) -> LibraryEntry:
    """By any name that a request may use. Raises ModelNotFound."""
    entries = await call.entries()
    found = [entry for entry in entries if name in entry.names or name == str(entry.digest)]
    if not found:
        try:
            digest = (await call.find(name)).digest
        except NotFound as error:
            raise ModelNotFound(error.message, hint=error.hint) from error
        except UsageError as error:  # malformed, or several have it
            raise RequestRefused(error.message, param="model", hint=error.hint) from error
        found = [entry for entry in entries if entry.digest == digest]
    if not found:
        raise ModelNotFound(f"no such model: {name}")
    return found[0]


async def _to_json(call: Call, entries: tuple[LibraryEntry, ...]) -> list[dict[str, Any]]:
    expected = await call.gateway.resolver.expect(entries)
    loaded: dict[Digest, set[str]] = {}
    for snapshot in call.gateway.pool.snapshot():
        loaded.setdefault(snapshot.key.digest, set()).add(snapshot.key.engine)
    return [
        {
            "id": entry.id,
            "object": "model",
            "created": entry.created,
            "owned_by": _OWNER,
            **_for_anthropic(entry),
            "dmr": _facts(entry.config),
            "mrpack": {
                "digest": str(entry.digest),
                "names": list(entry.names),
                "format": entry.config.format,
                "engine": found.engine if found is not None else None,
                "engines": [
                    name
                    for name, engine in call.gateway.engines.items()
                    if entry.config.format in engine.formats
                ],
                **describe_abilities(found.operation if found is not None else None, sees=entry.sees),
                "loaded": sorted(loaded.get(entry.digest, ())),
            },
        }
        for entry, found in zip(entries, expected, strict=True)
    ]


def _for_anthropic(entry: LibraryEntry) -> dict[str, Any]:
    """What Anthropic's clients read of a model; nothing here has the name of a field of OpenAI's."""
    return {
        "type": "model",
        "display_name": entry.id,
        "created_at": datetime.fromtimestamp(entry.created, UTC).isoformat(),
        "max_input_tokens": entry.config.context_size,
    }


async def with_metadata(call: Call, entry: LibraryEntry) -> LibraryEntry:
    """With all that its header says. Raises as `Library.metadata`."""
    found = await asyncio.to_thread(call.gateway.library.metadata, entry.digest)
    return replace(entry, config=replace(entry.config, metadata=found))


def _facts(config: ModelConfig) -> dict[str, Any]:
    """As Docker Model Runner tells them."""
    facts = {
        "context_window": config.context_size,
        "architecture": config.architecture,
        "parameters": config.parameters,
        "quantization": config.quantization,
        "size": config.size,
    }
    return {name: value for name, value in facts.items() if value}

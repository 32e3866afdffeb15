"""The models that can be asked for, as OpenAI lists them, with Docker Model Runner's block of facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mrpack.errors import NotFound, UsageError
from mrpack_runtime.gateway.errors import ModelNotFound
from mrpack_runtime.library import LibraryEntry
from mrpack_runtime.refusal import RequestRefused

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from mrpack_runtime.gateway.call import Call

_OWNER: Final = "mrpack"


async def list_models(call: Call) -> StreamResponse:
    """GET …/models: everything in the library, whatever engine the path names."""
    return call.json({"object": "list", "data": [_to_json(call, entry) for entry in await call.entries()]})


async def show_model(call: Call) -> StreamResponse:
    """GET …/models/{model}: by any name that a request may use; a full one is its `id`."""
    name = call.match.name
    entry = await find_entry(call, name)
    return call.json(_to_json(call, entry) | ({"id": name} if name in entry.names else {}))


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


def _to_json(call: Call, entry: LibraryEntry) -> dict[str, Any]:
    config = entry.config
    facts = {
        "context_window": config.context_size,
        "architecture": config.architecture,
        "parameters": config.parameters,
        "quantization": config.quantization,
        "size": config.size,
    }
    loaded = {
        snapshot.key.engine
        for snapshot in call.gateway.pool.snapshot()
        if snapshot.key.digest == entry.digest
    }
    return {
        "id": entry.id,
        "object": "model",
        "created": entry.created,
        "owned_by": _OWNER,
        "dmr": {name: value for name, value in facts.items() if value},
        "mrpack": {
            "digest": str(entry.digest),
            "names": list(entry.names),
            "format": config.format,
            "engines": [
                name for name, engine in call.gateway.engines.items() if config.format in engine.formats
            ],
            "loaded": sorted(loaded),
        },
    }

"""Ollama's API: inference by any engine, and what there is and runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mrpack.digest import Digest
from mrpack.errors import Unsupported
from mrpack.model.overrides import duration_s
from mrpack_runtime.engine import KnowsTools, Operation
from mrpack_runtime.gateway.models import find_entry, with_metadata
from mrpack_runtime.gateway.progress import on_shelf, told
from mrpack_runtime.gateway.proxy import infer_as, lease, resolve
from mrpack_runtime.gateway.removal import ensure_not_running
from mrpack_runtime.protocols.abilities import capabilities
from mrpack_runtime.protocols.fields import as_text
from mrpack_runtime.protocols.keeping import take_keep_alive
from mrpack_runtime.protocols.ollama.answer import line, said
from mrpack_runtime.protocols.ollama.catalogue import (
    API_VERSION,
    StatusLines,
    running_json,
    show_json,
    tag_json,
    timestamp,
)
from mrpack_runtime.protocols.ollama.request import (
    is_load_only,
    model_name,
    parse_chat,
    parse_embed,
    parse_generate,
    parse_legacy_embed,
    wants_stream,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mrpack_runtime.gateway.call import Call
    from mrpack_runtime.gateway.exchange import Reply
    from mrpack_runtime.protocols import Asked
    from mrpack_runtime.want import Want


async def _read(call: Call) -> dict[str, Any]:
    """The body. Ollama asks for no content type, and its examples with curl give none."""
    return await call.read_json(announced=False)


async def chat(call: Call) -> Reply:
    """POST /api/chat."""
    return await _generate(call, parse_chat, is_chat=True)


async def generate(call: Call) -> Reply:
    """POST /api/generate."""
    return await _generate(call, parse_generate, is_chat=False)


async def embed(call: Call) -> Reply:
    """POST /api/embed: vectors of one text or many."""
    body = await _read(call)
    call.model = model_name(body)
    return await infer_as(call, parse_embed(body))


async def legacy_embed(call: Call) -> Reply:
    """POST /api/embeddings: the vector of one text, as older clients ask for it."""
    body = await _read(call)
    call.model = model_name(body)
    return await infer_as(call, parse_legacy_embed(body))


async def _generate(call: Call, parse: Callable[[dict[str, Any]], Asked], *, is_chat: bool) -> Reply:
    body = await _read(call)
    call.model = model_name(body)
    if not is_load_only(body):
        return await infer_as(call, parse(body))
    wants_stream(body)  # which says nothing about one line, but may be wrong
    keep_alive = take_keep_alive(body)
    reason = "load"
    if keep_alive is not None and duration_s(keep_alive) == 0:
        reason = "unload"
        digest = (await find_entry(call, call.model)).digest
        running = [shot.key for shot in call.gateway.pool.snapshot() if shot.key.digest == digest]
        await call.gateway.pool.unload(running)
        if _is_answering(call, digest):  # then it goes after its last request
            with await lease(call, keep_alive):
                pass
    else:
        with await lease(call, keep_alive):
            pass
    return call.json(
        line(call.model, said("", "", []), {"done": True, "done_reason": reason}, is_chat=is_chat)
    )


def _is_answering(call: Call, digest: Digest) -> bool:
    wanted = digest, call.match.route.operation
    shots = call.gateway.pool.snapshot()
    return any(shot.busy and (shot.key.digest, shot.key.operation) == wanted for shot in shots)


async def version(call: Call) -> Reply:
    """GET /api/version: Ollama's."""
    return call.json({"version": API_VERSION})


async def status(call: Call) -> Reply:
    """GET /api/status: that there is no cloud."""
    return call.json({"cloud": {"disabled": True, "source": "config"}})


async def tags(call: Call) -> Reply:
    """GET /api/tags: every name of every local model."""
    return call.json(
        {"models": [tag_json(entry, name) for entry in await call.entries() for name in entry.names]}
    )


async def ps(call: Call) -> Reply:
    """GET /api/ps."""
    entries = {entry.digest: entry for entry in await call.entries()}
    models = []
    for shot in call.gateway.pool.snapshot():
        if (entry := entries.get(shot.key.digest)) is None:
            continue
        stays = shot.pinned or shot.keep_alive_s is None
        expires = None if stays else shot.last_used + (shot.keep_alive_s or 0.0)
        context, vram = entry.config.context_size, sum(shot.need.gpus)
        models.append(running_json(entry, shot.model, expires=expires, context=context, vram=vram))
    return call.json({"models": models})


async def show(call: Call) -> Reply:
    """POST /api/show: what a model is, and what it can do."""
    body = await _read(call)
    call.model = model_name(body)
    entry = await with_metadata(call, await find_entry(call, call.model))
    want = await resolve(call, None)
    operation = want.settings.engine.operation
    can = capabilities(operation, sees=entry.sees)
    if operation is Operation.COMPLETION and await asyncio.to_thread(_calls_tools, want):
        can.append("tools")
    settings = "\n".join(f"{name} {value}" for name, value in want.settings.sampling.items())
    return call.json({**show_json(entry, can, settings), "modified_at": timestamp(entry.created)})


def _calls_tools(want: Want) -> bool:
    """As far as its engine knows."""
    engine = want.choice.engine
    return not isinstance(engine, KnowsTools) or not engine.tool_refusal(
        want.choice.installation, want.bundle
    )


async def pull(call: Call) -> Reply:
    """POST /api/pull."""
    body = await _read(call)
    name = model_name(body)
    if body.get("stream") is False:
        await on_shelf(call, lambda shelf: shelf.pull(name, _silent))
        return call.json({"status": "success"})
    return await told(call, lambda shelf, report: shelf.pull(name, report), StatusLines("pulling"))


async def push(call: Call) -> Reply:
    """POST /api/push."""
    body = await _read(call)
    name = model_name(body)
    if body.get("stream") is False:
        await on_shelf(call, lambda shelf: shelf.push(name, _silent))
        return call.json({"status": "success"})
    return await told(call, lambda shelf, report: shelf.push(name, report), StatusLines("pushing"))


async def copy(call: Call) -> Reply:
    """POST /api/copy: a second name for a model."""
    body = await _read(call)
    source, new = as_text(body.get("source"), "source"), as_text(body.get("destination"), "destination")
    await on_shelf(call, lambda shelf: shelf.tag(source, new))
    return call.json({})


async def delete(call: Call) -> Reply:
    """DELETE /api/delete: refused while the model runs."""
    name = model_name(await _read(call))
    await ensure_not_running(call, name)
    await on_shelf(call, lambda shelf: "".join(shelf.remove(name).untagged))
    return call.json({})


async def create(call: Call) -> Reply:
    """POST /api/create, and the uploads for it: refused."""
    del call
    raise Unsupported(
        "models are not made over this API",
        hint="`mrpack package` makes one, `--from MODEL --set` changes it",
    )


def _silent(_event: object) -> None:
    """The progress of those who do not watch."""

"""Docker Model Runner's `/models`: what there is, and pull, push, tag, remove, import, export."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mrpack.errors import Unsupported, from_os_error
from mrpack_runtime.gateway.bodies import body_pieces, get_text
from mrpack_runtime.gateway.models import find_entry, with_metadata
from mrpack_runtime.gateway.progress import on_shelf, shelf_of, told
from mrpack_runtime.gateway.queries import read_flag
from mrpack_runtime.gateway.removal import ModelRuns, ensure_not_running
from mrpack_runtime.protocols.dmr import ProgressLines, model_json
from mrpack_runtime.protocols.refusal import RequestRefused

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Call
    from mrpack_runtime.gateway.exchange import Reply
    from mrpack_runtime.models.shelf import ModelShelf

_PIECE_BYTES: Final = 1024 * 1024


async def list_models(call: Call) -> Reply:
    """GET /models: all local models."""
    return call.json([model_json(entry) for entry in await call.entries()])


async def show_model(call: Call) -> Reply:
    """GET /models/{model}: one of them; what a registry has is not asked (`?remote=true`)."""
    if read_flag(call, "remote"):
        raise Unsupported("no registry is asked here", hint=f"mrpack inspect --remote {call.match.name}")
    entry = await find_entry(call, call.match.name)
    return call.json(model_json(await with_metadata(call, entry)))


async def create(call: Call) -> Reply:
    """POST /models/create: pulls the model in `from`."""
    body = await call.read_json()
    _refuse_token(body)
    name = get_text(body, "from")
    return await told(call, lambda shelf, report: shelf.pull(name, report), ProgressLines("pull"))


async def push(call: Call) -> Reply:
    """POST /models/{model}/push: to the registry in its name."""
    if call.request.has_body:
        _refuse_token(await call.read_json())
    name = (await find_entry(call, call.match.name)).id
    return await told(call, lambda shelf, report: shelf.push(name, report), ProgressLines("push"))


async def tag(call: Call) -> Reply:
    """POST /models/{model}/tag: a second name, `?repo=R&tag=T`."""
    repository, word = call.request.query.get("repo"), call.request.query.get("tag")
    if not repository or not word:
        raise RequestRefused("missing repo or tag query parameter", param="repo")
    source, new = call.match.name, f"{repository}:{word}"
    full = await on_shelf(call, lambda shelf: shelf.tag(source, new))
    return call.json({"message": f"Model tagged successfully with {full}", "target": full}, status=201)


async def delete(call: Call) -> Reply:
    """DELETE /models/{model}: one name, refused while the model runs unless `?force`."""
    name = call.match.name
    await ensure_not_running(call, name, force=read_flag(call, "force"))

    def remove(shelf: ModelShelf) -> str:
        gone = shelf.remove(name)
        lines = [{"Untagged": name} for name in gone.untagged]
        return json.dumps([*lines, *({"Deleted": digest} for digest in gone.deleted)])

    return call.json(json.loads(await on_shelf(call, remove)))


async def prune(call: Call) -> Reply:
    """POST /models/prune: frees what no model needs."""
    freed = await on_shelf(call, lambda shelf: str(shelf.free()))
    return call.json({"freed": int(freed)})


async def purge(call: Call) -> Reply:
    """DELETE /models/purge: every local model; refused while one runs."""
    if call.gateway.pool.snapshot():
        raise ModelRuns("models are running", hint="unload them first")
    names = [name for entry in await call.entries() for name in entry.names]

    def remove(shelf: ModelShelf) -> str:
        for name in names:
            shelf.remove(name)
        return ""

    await on_shelf(call, remove)
    return call.json({})


async def load(call: Call) -> Reply:
    """POST /models/load: takes in the models of an archive, an image layout in a tar, which is the body."""
    shelf = shelf_of(call)
    with shelf.scratch() as path:
        await _receive(call, path)
        return await told(
            call,
            lambda shelf, report: ", ".join(shelf.load(path, report)),
            ProgressLines("pull"),
            leave=False,
        )


async def export(call: Call) -> Reply:
    """GET /models/{model}/export: as an image layout in a tar."""
    name = (await find_entry(call, call.match.name)).id
    with shelf_of(call).scratch() as path:
        await on_shelf(call, lambda shelf: _export(shelf, name, path))
        with path.open("rb") as file:
            path.unlink()
            headers = {
                **call.headers,
                "Content-Type": "application/x-tar",
                "Content-Disposition": 'attachment; filename="model.tar"',
            }
            stream = call.request.stream(headers, length=file.seek(0, 2))
            file.seek(0)
            while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                await stream.write(piece)
            stream.end()
            return stream


async def repackage(call: Call) -> Reply:
    """POST /models/{model}/repackage: refused."""
    name = call.match.name
    raise Unsupported(
        "models are not made over this API", hint=f"mrpack package --from {name} --set context_size=N NAME"
    )


def _export(shelf: ModelShelf, name: str, path: Path) -> str:
    shelf.export(name, path)
    return name


def _refuse_token(body: dict[str, Any]) -> None:
    if body.get("bearer-token"):
        raise Unsupported("bearer-token: the gateway uses its own credentials", hint="mrpack login REGISTRY")


async def _receive(call: Call, path: Path) -> None:
    """The body as a file; it may be as long as the disk takes. Raises BodyTimeout, HostRefused."""
    try:
        with path.open("xb") as file:
            async for piece in body_pieces(call.request, call.gateway.deadlines):
                await asyncio.to_thread(file.write, piece)
    except OSError as error:
        raise from_os_error(error, "keep the archive") from error

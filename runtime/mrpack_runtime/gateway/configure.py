"""`/engines/_configure`: settings by hand for one model, in Docker Model Runner's shapes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mrpack.errors import Unsupported
from mrpack_runtime.gateway.bodies import get_model, get_text
from mrpack_runtime.gateway.exchange import Response
from mrpack_runtime.gateway.models import find_entry
from mrpack_runtime.gateway.proxy import is_preload, lease, resolve
from mrpack_runtime.gateway.removal import ModelRuns
from mrpack_runtime.protocols.dmr import configured_json, parse_settings
from mrpack_runtime.protocols.fields import as_switch
from mrpack_runtime.settings.merged import settings_group

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Call
    from mrpack_runtime.gateway.exchange import Reply


async def configure(call: Call) -> Reply:
    """POST /engines/_configure: replaces what was set for the model, for its next engine.

    An idle engine of the model ends; with one that answers it is refused (409). With `preload`, or the header
    `X-Preload-Only: true`, the answer comes when the model is loaded with them.
    """
    body = await call.read_json()
    preload = as_switch(body.get("preload", False), "preload") or is_preload(call)
    call.model = get_model(body)
    want = await resolve(call, None)
    overrides = parse_settings(body, settings_group(want.choice.engine))
    if overrides.values != call.gateway.configured.get(want.bundle.name).values:
        pool = call.gateway.pool
        running = [shot for shot in pool.snapshot() if shot.key.digest == want.bundle.digest]
        if any(shot.busy for shot in running):
            raise ModelRuns("runner already active", hint="the model answers a request now; try again")
        await asyncio.to_thread(call.gateway.configured.set, want.bundle.name, overrides)
        await pool.unload([shot.key for shot in running])
    if preload:
        with await lease(call):
            pass
    return Response(status=202, headers=call.headers)


async def configured(call: Call) -> Reply:
    """GET /engines/_configure: what is set, of all models or of `?model=`."""
    wanted = call.request.query.get("model")
    only = (await find_entry(call, wanted)).digest if wanted is not None else None
    found = []
    kept = call.gateway.configured.all()
    for entry in await call.entries():
        for name in entry.names:
            if name in kept and only in {None, entry.digest}:
                call.model = name
                engine = (await resolve(call, None)).key.engine
                found.append(configured_json(engine, entry, kept[name]) | {"Model": name})
    return call.json(found)


async def install(call: Call) -> Reply:
    """POST /engines/install-backend: refused."""
    engine = get_text(await call.read_json(), "backend")
    raise Unsupported(
        "engines are not installed over this API", hint=f"mrpack install-runner --backend {engine}"
    )


async def uninstall(call: Call) -> Reply:
    """POST /engines/uninstall-backend: refused."""
    engine = get_text(await call.read_json(), "backend")
    raise Unsupported(
        "engines are not removed over this API", hint=f"mrpack uninstall-runner --backend {engine}"
    )

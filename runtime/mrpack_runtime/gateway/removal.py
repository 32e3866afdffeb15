"""Whether a model may go: not while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrpack_runtime.gateway.models import find_entry
from mrpack_runtime.protocols.refusal import RequestRefused

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Call


class ModelRuns(RequestRefused):
    """The model is loaded, so that it can be neither removed nor changed now."""

    http_status = 409
    code = "model_running"


async def ensure_not_running(call: Call, name: str, *, force: bool = False) -> None:
    """With `force` whatever runs is unloaded, else what is the last name of a running model stays.

    Raises:
        ModelRuns, NotFound.
    """
    entry = await find_entry(call, name)
    if len(entry.names) > 1:
        return
    pool = call.gateway.pool
    running = [shot.key for shot in pool.snapshot() if shot.key.digest == entry.digest]
    if running and not force:
        raise ModelRuns(f"{entry.id} is running", hint="unload it first, or force")
    await pool.unload(running, force=True)

"""What runs, and how to change it: status, ps, unload, df, health, logs; in Docker Model Runner's shapes."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mrpack.errors import NotFound
from mrpack_runtime.gateway.guard import may_manage
from mrpack_runtime.gateway.logbook import Choice, all_engines
from mrpack_runtime.gateway.queries import read_flag
from mrpack_runtime.protocols.dmr import DOCKERS_CLIENT, status_for_docker
from mrpack_runtime.protocols.fields import as_switch
from mrpack_runtime.protocols.refusal import RequestRefused
from mrpack_runtime.runners.availability import availability
from mrpack_runtime.scheduling import EngineKey, Overloaded, Phase

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Call
    from mrpack_runtime.gateway.exchange import Reply
    from mrpack_runtime.pool import Snapshot

# Go's zero time: what Docker Model Runner shows while an engine is busy.
_ZERO_TIME: Final = "0001-01-01T00:00:00Z"


async def root(call: Call) -> Reply:
    """GET /."""
    return call.text("mrpack is running\n")


async def health(call: Call) -> Reply:
    """GET /health: the process answers."""
    return call.json({"status": "ok"})


async def ready(call: Call) -> Reply:
    """GET /ready: it takes requests."""
    if call.gateway.pool.is_draining:
        raise Overloaded("shutting down", retry_after_s=10.0)
    return call.json({"status": "ready"})


async def version(call: Call) -> Reply:
    """GET /version."""
    return call.json({"version": call.gateway.version})


async def status(call: Call) -> Reply:
    """GET /engines/status: each engine as `Running|Available|Not Installed: detail`."""
    running: dict[str, str] = {}
    for snapshot in call.gateway.pool.snapshot():
        if snapshot.launch is not None:
            running[snapshot.key.engine] = f"Running: {snapshot.launch.launcher} {snapshot.launch.version}"
    found = await asyncio.to_thread(availability, call.gateway.engines, call.gateway.host()) | running
    if call.request.headers.get("User-Agent", "").startswith(DOCKERS_CLIENT):
        found = {name: status_for_docker(words) for name, words in found.items()}
    return call.json(found)


async def ps(call: Call) -> Reply:
    """GET /engines/ps: one entry for each engine process; `?wide=true` adds how it was started, and why."""
    policy = call.gateway.policy
    wide = read_flag(call, "wide") and (
        not policy.beyond_loopback or may_manage(call.request.headers, policy)
    )
    return call.json([_entry(snapshot, wide=wide) for snapshot in call.gateway.pool.snapshot()])


def _entry(snapshot: Snapshot, *, wide: bool) -> dict[str, Any]:
    keep_alive_s = -1 if snapshot.pinned or snapshot.keep_alive_s is None else snapshot.keep_alive_s
    entry: dict[str, Any] = {
        "backend_name": snapshot.key.engine,
        "model_name": snapshot.model,
        "mode": str(snapshot.key.operation),
        "last_used": _ZERO_TIME if snapshot.busy else _rfc3339(snapshot.last_used),
        "in_use": snapshot.busy > 0,
        "loading": snapshot.phase is Phase.LOADING,
        # In digits: Go reads no exponents.
        "keep_alive": "-1" if keep_alive_s < 0 else f"{keep_alive_s:.12g}s",
        "requests": snapshot.busy,
        "phase": str(snapshot.phase),
        "digest": str(snapshot.key.digest),
        "pid": snapshot.pid,
        "load_time_s": snapshot.load_time_s,
        "memory": {"host": snapshot.need.host, "gpus": list(snapshot.need.gpus)},
    }
    if not snapshot.busy and keep_alive_s >= 0:
        entry["expires_in_s"] = max(0.0, round(snapshot.last_used + keep_alive_s - time.time(), 3))
    if wide and snapshot.launch is not None:
        entry["launcher"] = snapshot.launch.launcher
        entry["version"] = snapshot.launch.version
        entry["command"] = list(snapshot.launch.argv)
        entry["environment"] = dict(snapshot.launch.environment)
        entry["why"] = snapshot.launch.why
        entry["confinement"] = snapshot.launch.confinement
    return entry


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


async def df(call: Call) -> Reply:
    """GET /engines/df: bytes of all models, each digest counted once; engines are not counted."""
    sizes = {entry.digest: entry.size for entry in await call.entries()}
    return call.json({"models_disk_usage": sum(sizes.values()), "default_backend_disk_usage": 0})


async def unload(call: Call) -> Reply:
    """POST /engines/unload: `{"all": true}` or `{"models": […]}`, `backend`, and `force` for busy ones."""
    body = await call.read_json()
    everything = as_switch(body.get("all", False), "all")
    force = as_switch(body.get("force", False), "force")
    models, engine = body.get("models"), body.get("backend", "")
    if models is None:  # so Go writes an empty list
        models = []
    if not isinstance(models, list) or not all(isinstance(name, str) for name in models):
        raise RequestRefused("models must be a list of names", param="models")
    if not isinstance(engine, str):
        raise RequestRefused("backend must be the name of an engine", param="backend")
    if not everything and not models:
        raise RequestRefused("say which: all, or models", param="models")
    digests = {(await _digest(call, name)) for name in models}
    snapshots = [
        snapshot
        for snapshot in call.gateway.pool.snapshot()
        if (everything or snapshot.key.digest in digests) and engine in {"", snapshot.key.engine}
    ]
    keys: list[EngineKey] = [snapshot.key for snapshot in snapshots]
    stopped = await call.gateway.pool.unload(keys, force=force)
    left = {snapshot.key for snapshot in call.gateway.pool.snapshot()}
    busy = [snapshot.model for snapshot in snapshots if snapshot.key in left]
    return call.json({"unloaded_runners": stopped, "busy": busy})


async def _digest(call: Call, name: str) -> object:
    """Of a model that may have left the library while it runs: then its name is that of the running one."""
    try:
        return (await call.find(name)).digest
    except NotFound:
        found = [snapshot.key.digest for snapshot in call.gateway.pool.snapshot() if snapshot.model == name]
        if not found:
            raise
        return found[0]


async def logs(call: Call) -> Reply:
    """GET /logs: `?follow=true` goes on; `?engine=`: of one engine or model; `?no-engines=true`: of none."""
    follow, engines = read_flag(call, "follow"), not read_flag(call, "no-engines")
    name = call.request.query.get("engine", "")
    chosen = await _logs_of(call, name) if name else all_engines if engines else None
    stream = call.request.stream({**call.headers, "Content-Type": "text/plain; charset=utf-8"})
    async for text in call.gateway.logbook.read(own=not name, engines=chosen, follow=follow):
        await stream.write(text.encode())
    stream.end()
    return stream


async def _logs_of(call: Call, name: str) -> Choice:
    """The logs of an engine or of a model. Raises NotFound, and as `Library.find`."""
    if name in call.gateway.engines:
        return lambda log: log.engine == name
    short = (await call.find(name)).digest.short
    return lambda log: log.digest == short

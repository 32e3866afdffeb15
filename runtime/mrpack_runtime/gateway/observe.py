"""What the gateway says of itself in numbers, for Prometheus."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mrpack.errors import EngineFailed
from mrpack_runtime.gateway.metrics import Family, Sample, parse, render
from mrpack_runtime.scheduling import Phase
from mrpack_runtime.wire.upstream import Upstream

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Call
    from mrpack_runtime.gateway.exchange import Reply
    from mrpack_runtime.pool import Snapshot

_SCRAPE_S: Final = 2.0
_SCRAPE_LIMIT: Final = 16 * 1024 * 1024


async def metrics(call: Call) -> Reply:
    """GET /metrics: the gateway's counts, and those of every engine that has some, by model."""
    snapshots = call.gateway.pool.snapshot()
    scraped = await asyncio.gather(*(_scrape(shot) for shot in snapshots if shot.phase is Phase.READY))
    families = [*_state(call, snapshots), *call.gateway.metrics.families()]
    text = render([*families, *(family for found in scraped for family in found)])
    return call.text(text, "text/plain; version=0.0.4; charset=utf-8")


def _state(call: Call, snapshots: tuple[Snapshot, ...]) -> list[Family]:
    engines, busy, loads = [], [], []
    for shot in snapshots:
        labels = (("model", shot.model), ("engine", shot.key.engine), ("mode", str(shot.key.operation)))
        engines.append(Sample(1.0, (*labels, ("phase", str(shot.phase)))))
        busy.append(Sample(shot.busy, labels))
        if shot.load_time_s is not None:
            loads.append(Sample(shot.load_time_s, labels))
    waiting = (Sample(call.gateway.pool.waiting),)
    return [
        Family("mrpack_engines", "gauge", "Engine processes.", tuple(engines)),
        Family("mrpack_requests_running", "gauge", "Requests that an engine answers now.", tuple(busy)),
        Family("mrpack_requests_waiting", "gauge", "Requests that wait for an engine.", waiting),
        Family("mrpack_load_time_seconds", "gauge", "How long an engine took to get ready.", tuple(loads)),
    ]


async def _scrape(shot: Snapshot) -> tuple[Family, ...]:
    """Empty when this engine does not count, or not in time."""
    if shot.launch is None:
        return ()
    upstream = Upstream(shot.launch.endpoint)
    try:
        with suppress(EngineFailed, TimeoutError):
            async with asyncio.timeout(_SCRAPE_S):
                answer = await upstream.get("/metrics")
                content = await answer.read_all(_SCRAPE_LIMIT)
                if answer.head.status == 200:
                    labels = (("backend", shot.key.engine), ("model", shot.model))
                    return parse(
                        content.decode(errors="replace"), (*labels, ("mode", str(shot.key.operation)))
                    )
    finally:
        upstream.close()
    return ()

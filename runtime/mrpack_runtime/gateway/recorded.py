"""`/engines/requests`: what was asked of models, for those who said that it may be kept."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from mrpack.errors import Unsupported
from mrpack_runtime.gateway.inspector import Inspector, by_model
from mrpack_runtime.gateway.models import find_entry
from mrpack_runtime.gateway.queries import read_flag

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Call
    from mrpack_runtime.gateway.exchange import Reply


async def requests(call: Call) -> Reply:
    """GET /engines/requests: the last of each model or of `?model=`; as events, those to come, too."""
    if not call.gateway.log_prompts:
        raise Unsupported(
            "requests are not recorded: prompts and answers stay private",
            hint="`mrpack serve --log-prompts` keeps the last ten of each model in memory",
        )
    wanted = call.request.query.get("model")
    only = (await find_entry(call, wanted)).id if wanted is not None else None
    if "text/event-stream" not in call.request.headers.get("Accept", ""):
        return call.json(call.gateway.inspector.kept(only))
    existing = read_flag(call, "include_existing")
    stream = call.request.stream(
        {**call.headers, "Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    )
    async with aclosing(_events(call.gateway.inspector, only, existing=existing)) as events:
        async for event in events:
            await stream.write(event)
    return stream


async def _events(inspector: Inspector, only: str | None, *, existing: bool) -> AsyncGenerator[bytes, None]:
    """Without end: the client leaves, or the gateway ends."""
    with inspector.following() as queue:
        yield _event("connected", {"status": "connected"})
        for model in inspector.kept(only) if existing else ():
            for record in model["records"]:
                yield _event("existing_request", [model | {"records": [record]}])
        while True:
            record = await queue.get()
            if only in {None, record["model"]}:
                yield _event("new_request", [by_model(record["model"], 1, [record])])


def _event(name: str, content: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(content)}\n\n".encode()

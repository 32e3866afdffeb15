"""What handlers work with: the gateway's parts, the route, and one request on its way to an answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from mrpack.errors import MrpackError
from mrpack_runtime.engine import Engine, ModelBundle, Operation
from mrpack_runtime.gateway.bodies import BodyRoom, read_form, read_json
from mrpack_runtime.gateway.connections import Deadlines
from mrpack_runtime.gateway.errors import ErrorShape, error_headers, error_json, openai_shape
from mrpack_runtime.gateway.exchange import Reply, Request, Response
from mrpack_runtime.gateway.guard import Policy, Scope
from mrpack_runtime.gateway.heads import JSON_TYPE
from mrpack_runtime.gateway.inspector import Inspector
from mrpack_runtime.gateway.logbook import LogBook
from mrpack_runtime.gateway.metrics import Metrics
from mrpack_runtime.machine.host import HostNow
from mrpack_runtime.models.library import Library, LibraryEntry
from mrpack_runtime.models.shelf import ModelShelf
from mrpack_runtime.pool import Pool
from mrpack_runtime.protocols.responses.history import History
from mrpack_runtime.resolver import Resolver
from mrpack_runtime.settings.store import MemorySettings, SettingsStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The parts that handlers share."""

    library: Library
    resolver: Resolver
    pool: Pool
    engines: Mapping[str, Engine]
    host: HostNow
    policy: Policy
    logbook: LogBook
    version: str
    deadlines: Deadlines = field(default_factory=Deadlines)
    metrics: Metrics = field(default_factory=Metrics)
    body_room: BodyRoom = field(default_factory=BodyRoom)
    history: History = field(default_factory=History)
    inspector: Inspector = field(default_factory=Inspector)
    configured: SettingsStore = field(default_factory=MemorySettings)
    shelf: ModelShelf | None = None
    log_prompts: bool = False
    shelf_threads: Executor = field(default_factory=partial(ThreadPoolExecutor, 2, "shelf"))


Handler = Callable[["Call"], Awaitable[Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One row. `path` may hold `{engine}`, one segment, and `{model}` or `{id}`, any number of them.

    For inference: the `operation` that the model is loaded for, the engine's own path, and how its streams
    end (empty: there is no such mark); handlers that translate know the last two themselves. `errors` is the
    shape that this API gives its errors.
    """

    method: str
    path: str
    handler: Handler
    scope: Scope
    operation: Operation | None = None
    upstream: str = ""
    stream_end: bytes = b""
    errors: ErrorShape = openai_shape


class Match(NamedTuple):
    route: Route
    engine: str | None = None
    name: str = ""
    """What stands for `{model}` or `{id}`."""


@dataclass(slots=True)
class Call:
    """`headers` belong to every answer. `model` and `engine` are filled in once known, for the log.

    `begun` is on the monotonic clock; `sampling` are the model's defaults for what the client leaves open;
    `held` bytes of the gateway's `body_room` are given back when the call ends.
    """

    gateway: Gateway
    request: Request
    match: Match
    headers: dict[str, str]
    model: str = ""
    engine: str = ""
    begun: float = field(default_factory=time.monotonic)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    held: int = 0

    async def read_json(self, *, announced: bool = True) -> dict[str, Any]:
        """The body; `announced` and errors as in `bodies.read_json`."""
        return await read_json(self.request, self.gateway.deadlines, self._hold, announced=announced)

    async def read_form(self) -> tuple[bytes, str, dict[str, Any]]:
        """The body, its content type and its texts. Raises as `bodies.read_form`."""
        return await read_form(self.request, self.gateway.deadlines, self._hold)

    def _hold(self, size: int) -> None:
        self.gateway.body_room.take(size)
        self.held += size

    async def entries(self) -> tuple[LibraryEntry, ...]:
        return await asyncio.to_thread(self.gateway.library.list)

    async def find(self, name: str) -> ModelBundle:
        """Raises NotFound, and as `Library.find`."""
        return await asyncio.to_thread(self.gateway.library.find, name)

    def json(self, body: Any, status: int = 200) -> Response:
        return Response(
            status=status,
            body=json.dumps(body, ensure_ascii=False).encode(errors="backslashreplace"),
            headers={**self.headers, "Content-Type": JSON_TYPE},
        )

    def text(self, text: str, content_type: str = "text/plain; charset=utf-8") -> Response:
        return Response(body=text.encode(), headers={**self.headers, "Content-Type": content_type})


def error_response(
    error: MrpackError, headers: Mapping[str, str], policy: Policy, shape: ErrorShape = openai_shape
) -> Response:
    body = shape(error.http_status, error_json(error, with_log=not policy.beyond_loopback))
    return Response(
        status=error.http_status,
        body=json.dumps(body, ensure_ascii=False).encode(errors="backslashreplace"),
        headers={**headers, **error_headers(error), "Content-Type": JSON_TYPE},
    )

"""A gateway on a free port of this process, fake engines behind it, and a client that sees every byte."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext
from typing import Any

from mrpack.model.overrides import parse_overrides
from mrpack_runtime.engine import Engine
from mrpack_runtime.gateway.app import serving
from mrpack_runtime.gateway.bodies import BodyRoom
from mrpack_runtime.gateway.call import Gateway
from mrpack_runtime.gateway.connections import Deadlines
from mrpack_runtime.gateway.guard import Policy
from mrpack_runtime.gateway.logbook import LogBook
from mrpack_runtime.machine.host import HostFacts, probe_host
from mrpack_runtime.pool import Pool
from mrpack_runtime.resolver import Resolver
from mrpack_runtime.scheduling import PoolLimits
from mrpack_runtime.settings.merged import CommandSettings
from mrpack_runtime.settings.store import MemorySettings
from mrpack_runtime.wire.endpoint import Endpoint, TcpEndpoint, UnixEndpoint
from mrpack_runtime.wire.upstream import Upstream
from mrpack_runtime.workshop import EngineWorkshop
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.folder_library import FolderLibrary
from tests.fakes.folder_shelf import FolderShelf
from tests.fakes.http_answer import HttpAnswer
from tests.waiting import DEADLINE_S

HOST = probe_host({"PATH": os.environ["PATH"], "LANG": "C.UTF-8"})
CHAT = "/v1/chat/completions"


def this_host() -> HostFacts:
    return HOST


class Answer(HttpAnswer):
    @property
    def events(self) -> list[Any]:
        """The data of server-sent events; `[DONE]` as text."""
        data = [line[6:] for line in self.body.decode().split("\n") if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in data]

    @property
    def text(self) -> str:
        """What the model said in a stream of chat chunks."""
        deltas = [
            event["choices"][0]["delta"]
            for event in self.events
            if event != "[DONE]" and event.get("choices")
        ]
        return "".join(delta.get("content") or "" for delta in deltas)


@dataclass
class Client:
    """HTTP/1.1 by hand, one connection a request."""

    endpoint: Endpoint
    tls: SSLContext | None = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = "localhost" if self.tls else None
        if isinstance(self.endpoint, UnixEndpoint):
            return await asyncio.open_unix_connection(self.endpoint.path, ssl=self.tls, server_hostname=name)
        host, port = self.endpoint.host, self.endpoint.port
        return await asyncio.open_connection(host, port, ssl=self.tls, server_hostname=name)

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        host: str | None = "localhost",
    ) -> Answer:
        reader, writer = await self.connect()
        try:
            writer.write(request_bytes(method, path, body, headers, host=host))
            return await read_answer(reader, head_only=method == "HEAD")
        finally:
            writer.close()

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return await self.request("GET", path, headers=headers)

    async def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request(
            "POST", path, content, {"Content-Type": "application/json", **(headers or {})}
        )

    async def start_stream(
        self, model: str = "fake", **fake: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Returns after the first event, which has to be a chunk of its own; `fake` is for the engine."""
        reader, writer = await self.connect()
        body = json.dumps(chat_body(model, stream=True, fake=fake)).encode()
        writer.write(request_bytes("POST", CHAT, body, {"Content-Type": "application/json"}))
        async with asyncio.timeout(DEADLINE_S):
            status, _ = await read_head(reader)
            assert status == 200
            await anext(read_chunks(reader))
        return reader, writer

    async def chat(self, model: str = "fake", prompt: str = "hi", **rest: Any) -> Answer:
        return await self.post(CHAT, chat_body(model, prompt, **rest))


def chat_body(model: str = "fake", prompt: str = "hi", **rest: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **rest}


def request_bytes(
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    host: str | None = "localhost",
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    if host is not None:
        lines.append(f"Host: {host}")
    if body is not None and "Content-Length" not in (headers or {}):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


async def read_answer(reader: asyncio.StreamReader, *, head_only: bool = False) -> Answer:
    async with asyncio.timeout(DEADLINE_S):
        status, headers = await read_head(reader)
        if head_only or status in (204, 304):
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body = b"".join([piece async for piece in read_chunks(reader)])
        else:
            body = await reader.readexactly(int(headers["content-length"]))
        return Answer(status, headers, body)


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in head[1:] if line)
    return int(head[0].split(" ")[1]), {name.strip().lower(): value.strip() for name, _, value in fields}


async def read_chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Raises IncompleteReadError when the body is cut."""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")


async def read_events(reader: asyncio.StreamReader) -> AsyncIterator[Any]:
    """The data of server-sent events in a chunked body, as they come; `[DONE]` as text."""
    held = b""
    async for piece in read_chunks(reader):
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                text = line[6:].decode()
                yield text if text == "[DONE]" else json.loads(text)


@dataclass
class Running:
    """A gateway that serves, and its parts."""

    client: Client
    pool: Pool
    library: FolderLibrary
    engine: Any
    folder: Path
    configured: MemorySettings

    async def engine_state(self, index: int = 0) -> Any:
        """What the fake engine says of itself."""
        return await self._ask("/fake/state", index)

    async def engine_requests(self, index: int = 0) -> Any:
        """The inference requests that the fake engine saw."""
        return await self._ask("/fake/requests", index)

    async def _ask(self, path: str, index: int) -> Any:
        launch = self.pool.snapshot()[index].launch
        assert launch is not None
        upstream = Upstream(launch.endpoint)
        answer = await upstream.get(path)
        try:
            return json.loads(await answer.read_all(1 << 24))
        finally:
            upstream.finish(answer)
            upstream.close()


@asynccontextmanager
async def gateway(
    folder: Path,
    engine: Engine | None = None,
    *,
    limits: PoolLimits | None = None,
    policy: Policy | None = None,
    endpoint: Endpoint | None = None,
    settings: str = "{}",
    ready_timeout_s: float = 60.0,
    models: tuple[str, ...] = ("localhost/fake:latest",),
    drain_s: float = 5.0,
    deadlines: Deadlines | None = None,
    tls: SSLContext | None = None,
    log_prompts: bool = False,
    body_room: int | None = None,
    configured: MemorySettings | None = None,
) -> AsyncIterator[Running]:
    """Each name of `models` is a model of its own; `settings` is a document of overrides."""
    engine = engine or FakeEngine()
    engines: dict[str, Engine] = {engine.name: engine}
    for part in ("models", "run", "logs"):
        (folder / part).mkdir(exist_ok=True)
    library = FolderLibrary(folder / "models")
    for number, name in enumerate(models):
        library.add(name, f"GGUF {number}".encode())
    pool = Pool(EngineWorkshop(this_host, folder / "run", folder / "logs"), limits)
    configured = configured or MemorySettings()
    parts = Gateway(
        library=library,
        resolver=Resolver(
            library,
            engines,
            this_host,
            CommandSettings(overrides=parse_overrides(settings.encode()), ready_timeout_s=ready_timeout_s),
            configured=configured,
        ),
        pool=pool,
        engines=engines,
        host=this_host,
        policy=policy or Policy(),
        logbook=LogBook(folder / "logs"),
        version="0",
        deadlines=deadlines or Deadlines(),
        configured=configured,
        shelf=FolderShelf(library),
        log_prompts=log_prompts,
        body_room=BodyRoom() if body_room is None else BodyRoom(body_room),
    )
    async with serving(parts, endpoint or TcpEndpoint(0), drain_s=drain_s, tls=tls) as bound:
        yield Running(Client(bound), pool, library, engine, folder, configured)


async def metrics_with(g: Running, part: str) -> Answer:
    """Asked again until `part` is there: an engine that does not tell its own at once is left out."""
    async with asyncio.timeout(DEADLINE_S):
        while part not in (answer := await g.client.get("/metrics")).body.decode():
            pass
    return answer


def exists(path: Path) -> bool:
    """Of files and, below /proc, of processes."""
    return path.exists()


async def until(condition: Callable[[], Any]) -> None:
    """Polls, since what happens in other processes sends no events; the condition may be awaitable."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            return
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.01)

"""What the client `docker model` asks, byte for byte, and that it can read each answer: its types say which.

Go's decoder overlooks keys that it does not know, and fails at values of another kind.
Source: cmd/cli/desktop/desktop.go of docker/model-runner at 642c7211, and the types that it decodes into.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from mrpack_runtime.protocols.dmr import status_for_docker
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import Answer, Running, chat_body, gateway, read_events, request_bytes, until

MODEL = "ai/smollm2:latest"
AGENT = {"User-Agent": "docker-model-cli/v1.2.3"}
Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Uint64 = Annotated[int, Field(ge=0, lt=2**64)]


def parse_duration(text: str) -> str:
    """As Go does, but for the two words of its own that `keep_alive` has."""
    assert text in {"0", "-1"} or re.fullmatch(r"-?([0-9]+(\.[0-9]*)?(ns|us|ms|s|m|h))+", text), text
    return text


KeepAlive = Annotated[str, AfterValidator(parse_duration)]


class Go(BaseModel):
    """A struct: every field may be missing, or null."""

    model_config = ConfigDict(strict=True, populate_by_name=False)


class Config(Go):
    format: str | None = None
    quantization: str | None = None
    parameters: str | None = None
    architecture: str | None = None
    size: str | None = None
    gguf: dict[str, str] | None = None
    context_size: Int32 | None = None


class Model(Go):
    id: str
    tags: list[str] | None = None
    created: int
    config: Config | None = None


class Facts(Go):
    context_window: Int32 | None = None
    architecture: str | None = None
    parameters: str | None = None
    quantization: str | None = None
    size: str | None = None


class OpenAIModel(Go):
    id: str
    object: str
    created: int
    owned_by: str
    dmr: Facts | None = None


class OpenAIModels(Go):
    object: str
    data: list[OpenAIModel]


class Runner(Go):
    backend_name: str
    model_name: str
    mode: str
    last_used: AwareDatetime
    in_use: bool = False
    loading: bool = False
    keep_alive: KeepAlive | None = None


class Disk(Go):
    models_disk_usage: int
    default_backend_disk_usage: int


class Unloaded(Go):
    unloaded_runners: int


class VllmSettings(Go):
    hf_overrides: dict[str, Any] | None = Field(None, alias="hf-overrides")
    gpu_memory_utilization: float | None = Field(None, alias="gpu-memory-utilization")


class LlamaCppSettings(Go):
    reasoning_budget: Int32 | None = Field(None, alias="reasoning-budget")


class Settings(Go):
    context_size: Int32 | None = Field(None, alias="context-size")
    keep_alive: KeepAlive | None = None
    vllm: VllmSettings | None = None
    llamacpp: LlamaCppSettings | None = None


class Configured(Go):
    Backend: str
    Model: str
    ModelID: str
    Mode: Annotated[str, Field(pattern="^(completion|embedding|reranking|image-generation)$")]
    Config: Settings


class Layer(Go):
    id: str = ""
    size: Uint64
    current: Uint64


class Progress(Go):
    type: Annotated[str, Field(pattern="^(progress|success|warning|error)$")]
    message: str
    total: Uint64
    layer: Layer
    mode: str


class Removed(Go):
    Untagged: str | None = None
    Deleted: str | None = None


class Record(Go):
    id: str
    model: str
    method: str
    url: str
    request: str
    response: str = ""
    error: str = ""
    timestamp: int
    status_code: int
    user_agent: str = ""
    origin: str = ""


class Recorded(Go):
    count: int
    model: str
    config: Settings
    records: list[Record]


def read(kind: Any, answer: Answer, status: int = 200) -> Any:
    assert answer.status == status, answer.body
    return TypeAdapter(kind).validate_json(answer.body)


def read_progress(answer: Answer) -> list[Progress]:
    assert answer.status == 200, answer.body
    return [Progress.model_validate_json(line) for line in answer.body.splitlines()]


class Docker:
    """As `docker model` asks: with its User-Agent, and a content type where there is a body."""

    def __init__(self, running: Running) -> None:
        self.client = running.client

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        if body is None:
            length = {"Content-Length": "0"} if method == "POST" else {}
            return await self.client.request(method, path, headers={**AGENT, **length, **headers})
        content = {"Content-Type": "application/json"}
        return await self.client.request(
            method, path, json.dumps(body).encode(), {**AGENT, **content, **headers}
        )


@asynccontextmanager
async def docker(folder: Path, **options: Any) -> AsyncIterator[tuple[Running, Docker]]:
    async with gateway(folder, FakeEngine(name="llama.cpp"), models=(MODEL,), **options) as g:
        yield g, Docker(g)


def test_list_inspect_version_and_df(short_folder):
    async def main() -> None:
        async with docker(short_folder) as (_, cli):
            (listed,) = read(list[Model], await cli.ask("GET", "/models"))
            assert (listed.tags, listed.config.format) == ([MODEL], "gguf")
            assert read(Model, await cli.ask("GET", f"/models/{MODEL}")).id == listed.id
            assert read(OpenAIModels, await cli.ask("GET", "/engines/v1/models")).data[0].id == MODEL
            assert read(OpenAIModel, await cli.ask("GET", f"/engines/v1/models/{MODEL}")).object == "model"
            assert (await cli.ask("GET", "/models/ai/nope:latest")).status == 404
            assert read(dict[str, str], await cli.ask("GET", "/version"))["version"]
            assert read(Disk, await cli.ask("GET", "/engines/df")).models_disk_usage > 0

    asyncio.run(main())


def test_status_has_the_words_that_docker_knows(short_folder):
    async def main() -> None:
        async with docker(short_folder) as (g, cli):
            words = read(dict[str, str], await cli.ask("GET", "/engines/status"))
            assert words == {"llama.cpp": "Running: program 1.0"}
            assert (await g.client.get("/engines/status")).json == {"llama.cpp": "Available: program 1.0"}
            await g.client.chat("smollm2")
            assert (await cli.ask("GET", "/engines/status")).json == {"llama.cpp": "Running: program 1.0"}

    asyncio.run(main())
    assert status_for_docker("Not Installed: pip install x") == "Not Installed: pip install x"


@pytest.mark.parametrize("keep_alive", ["5m0s", "0", "-1", "999999h0m0s", "1ms"])
def test_run_ps_configure_and_unload(short_folder, keep_alive):
    async def main() -> None:
        async with docker(short_folder) as (_, cli):
            asked: Any = {
                "model": MODEL,
                "keep_alive": keep_alive,
                "context-size": 2048,
                "mode": "completion",
            }
            asked["llamacpp"] = {"reasoning-budget": -1}
            set_ = await cli.ask("POST", "/engines/_configure", asked)
            assert (set_.status, set_.body) == (202, b"")
            for query in ("", "?model=ai%2Fsmollm2%3Alatest"):
                (shown,) = read(list[Configured], await cli.ask("GET", f"/engines/_configure{query}"))
                assert (shown.Config.context_size, shown.Config.keep_alive) == (2048, keep_alive)
                assert shown.Config.llamacpp.reasoning_budget == -1
            # `docker model run --detach`, then a chat.
            empty = {"model": MODEL, "messages": None, "stream": False}
            loaded = await cli.ask(
                "POST", "/engines/v1/chat/completions", empty, **{"X-Preload-Only": "true"}
            )
            assert (loaded.status, loaded.body) == (200, b"")
            chat = await cli.ask("POST", "/engines/v1/chat/completions", chat_body(MODEL, stream=True))
            assert chat.headers["content-type"] == "text/event-stream"
            assert (chat.events[-1], bool(chat.text)) == ("[DONE]", True)
            for runner in read(list[Runner], await cli.ask("GET", "/engines/ps")):
                assert (runner.backend_name, runner.model_name) == ("llama.cpp", MODEL)
            gone = await cli.ask("POST", "/engines/unload", {"all": False, "backend": "", "models": [MODEL]})
            read(Unloaded, gone)
            none = await cli.ask("POST", "/engines/unload", {"all": True, "backend": "", "models": None})
            assert read(Unloaded, none).unloaded_runners == 0

    asyncio.run(main())


def test_pull_tag_push_and_remove(short_folder):
    async def main() -> None:
        async with docker(short_folder) as (_, cli):
            pulled = read_progress(await cli.ask("POST", "/models/create", {"from": "ai/new:latest"}))
            assert (pulled[0].type, pulled[-1].type) == ("progress", "success")
            tagged = await cli.ask("POST", "/models/ai/new:latest/tag?repo=localhost:5000/x/y&tag=v1")
            assert tagged.status == 201
            pushed = read_progress(await cli.ask("POST", "/models/localhost:5000/x/y:v1/push"))
            assert (pushed[-1].type, pushed[-1].mode) == ("success", "push")
            removed = await cli.ask("DELETE", "/models/localhost:5000/x/y:v1?force=false")
            assert [row.Untagged for row in read(list[Removed], removed)] == ["localhost:5000/x/y:v1"]
            broken = read_progress(await cli.ask("POST", "/models/create", {"from": "ai/broken:latest"}))
            assert broken[-1].type == "error"
            assert (await cli.ask("DELETE", "/models/ai/nope?force=true")).status == 404
            assert (await cli.ask("DELETE", "/models/purge")).status == 200
            assert read(list[Model], await cli.ask("GET", "/models")) == []

    asyncio.run(main())


def test_package_load_and_export(short_folder):
    async def main() -> None:
        async with docker(short_folder) as (g, cli):
            tar = (await cli.ask("GET", f"/models/{MODEL}/export")).body
            load = {**AGENT, "Content-Type": "application/x-tar"}
            loaded = await g.client.request("POST", "/models/load", tar, load)
            assert read_progress(loaded)[-1].type == "success"
            assert (await cli.ask("GET", "/models/ai/nope/export")).status == 404

    asyncio.run(main())


def test_requests_and_logs(short_folder):
    async def main() -> None:
        async with docker(short_folder, log_prompts=True) as (g, cli):
            await cli.ask("POST", "/engines/v1/chat/completions", chat_body(MODEL))
            (found,) = read(
                list[Recorded], await cli.ask("GET", "/engines/requests", Accept="application/json")
            )
            assert (found.model, found.records[0].user_agent) == (MODEL, AGENT["User-Agent"])
            reader, writer = await g.client.connect()
            path = "/engines/requests?model=ai%2Fsmollm2%3Alatest&include_existing=true"
            writer.write(request_bytes("GET", path, headers={**AGENT, "Accept": "text/event-stream"}))
            await reader.readuntil(b"\r\n\r\n")
            events = read_events(reader)
            assert await anext(events) == {"status": "connected"}
            (existing,) = TypeAdapter(list[Recorded]).validate_python(await anext(events))
            assert existing.records == found.records
            writer.close()

            async def engine_has_told() -> bool:
                logs = await cli.ask("GET", "/logs?follow=false&no-engines=false")
                assert (logs.status, logs.headers["content-type"]) == (200, "text/plain; charset=utf-8")
                return b"fake: listening" in logs.body

            await until(engine_has_told)

    asyncio.run(main())

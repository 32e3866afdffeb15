"""llama.cpp through every launcher that is here, confined and driven as the gateway does it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mrpack.digest import Digest
from mrpack.errors import EngineFailed, MrpackError
from mrpack.formats.gguf import survey
from mrpack_runtime.confinement import Sandbox, confine, probe_kernel
from mrpack_runtime.engine import EngineSettings, LaunchRequest, ModelBundle
from mrpack_runtime.engines import engines, llamacpp
from mrpack_runtime.machine.host import HostFacts, probe_host
from mrpack_runtime.processes.process import EngineProcess, EngineState, free_port
from mrpack_runtime.quirks import QUIRKS
from mrpack_runtime.select import choose_engine
from mrpack_runtime.wire.upstream import Upstream
from tests.demands import demand
from tests.fakes.llama_cpp_python import ensure_environment, programs

CHAT = "/v1/chat/completions"
_ANSWER_LIMIT = 1 << 24
HELLO = {"messages": [{"role": "user", "content": "Who are you?"}]}
NAME = "localhost/tiny:latest"


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    events: tuple[Any, ...] = ()

    @property
    def content(self) -> str:
        return self.body["choices"][0]["message"]["content"]

    @property
    def streamed(self) -> str:
        choices = [event["choices"][0] for event in self.events if event != "[DONE]" and event.get("choices")]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


class Client:
    """Drives a process as the gateway does, quirks included."""

    def __init__(self, process: EngineProcess, upstream: Upstream) -> None:
        self.process = process
        self._upstream = upstream
        name = process.launch.quirks
        self._quirks = QUIRKS[name]() if name else None

    async def post(self, path: str, body: dict[str, Any]) -> Answer:
        body = {"model": NAME, **body}
        try:
            exchange = self._quirks.begin(path, body) if self._quirks else None
        except MrpackError as error:
            return Answer(error.http_status, {"error": {"message": str(error)}})
        response = await self._upstream.post(path, json.dumps(exchange.body if exchange else body).encode())
        try:
            content = await response.read_all(_ANSWER_LIMIT)
        finally:
            self._upstream.finish(response)
        status = response.head.status
        if not response.head.get("content-type").startswith("text/event-stream"):
            answer = json.loads(content)
            if exchange:
                status, answer = exchange.answer(status, answer)
            if status >= 400:
                status, answer["error"] = llamacpp.ENGINE.explained(status, answer["error"])
            return Answer(status, answer)
        events: list[Any] = []
        for line in content.splitlines():
            if line.startswith(b"data: [DONE]"):
                events.append("[DONE]")
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                events += exchange.chunk(event) if exchange else (event,)
        return Answer(status, None, tuple(events))


@dataclass(frozen=True)
class Setup:
    """One launcher on this host."""

    launcher: str
    host: HostFacts
    run_folder: Path

    def process(self, bundle: ModelBundle, settings: EngineSettings | None = None) -> EngineProcess:
        choice = choose_engine(bundle.config, engines(), self.host, f"llama.cpp/{self.launcher}")
        launch = choice.engine.launch(
            LaunchRequest(
                installation=choice.installation,
                bundle=bundle,
                settings=settings or EngineSettings(threads=1),
                host=self.host,
                run_folder=self.run_folder,
                free_port=free_port,
            )
        )
        confined = confine(
            launch, bundle, self.host.environment, self.run_folder, Sandbox.AUTO, probe_kernel()
        )
        return EngineProcess(confined, self.host, self.run_folder)

    @asynccontextmanager
    async def client(
        self, bundle: ModelBundle, settings: EngineSettings | None = None
    ) -> AsyncIterator[Client]:
        process = self.process(bundle, settings)
        upstream = Upstream(process.launch.endpoint)
        try:
            await ready(process)
            yield Client(process, upstream)
        finally:
            upstream.close()
            await process.stop()
        assert process.state is EngineState.STOPPED


async def ready(process: EngineProcess) -> None:
    try:
        await process.ensure_ready()
    except EngineFailed as error:
        if error.exit_status == -signal.SIGILL:
            pytest.skip("this llama-server was built for another processor")
        raise


def _probe(environments: Sequence[Path] = (), program: Path | None = None) -> HostFacts:
    configured = {"llama-server": program} if program else {}
    return probe_host({"PATH": os.environ["PATH"]}, programs=configured, engine_environments=environments)


def native_server() -> Path:
    """`MRPACK_TEST_LLAMA_SERVER`, else the one that was compiled with llama-cpp-python."""
    if path := os.environ.get("MRPACK_TEST_LLAMA_SERVER"):
        return Path(path)
    return programs(ensure_environment()) / "llama-server"


def _found(host: HostFacts) -> set[str]:
    return {installation.launcher for installation in llamacpp.ENGINE.installations(host)}


# Nothing installs the wheel for us: it is tried where it is. The other three always are.
LAUNCHERS = (
    *sorted(_found(_probe()) & {"wheel"}),
    "xllamacpp",
    pytest.param("native", marks=pytest.mark.slow),
    pytest.param("llama-cpp-python", marks=pytest.mark.slow),
)


def make_setup(launcher: str, run_folder: Path) -> Setup:
    match launcher:
        case "native":
            host = _probe(program=native_server())
        case "llama-cpp-python":
            host = _probe([ensure_environment()])
        case _:
            host = _probe()
    demand("" if launcher in _found(host) else f"llama.cpp is not installed as {launcher}")
    return Setup(launcher, host, run_folder)


def bundle(*weights: Path, **options: Any) -> ModelBundle:
    return ModelBundle(
        name=NAME,
        digest=Digest.of(b"tiny"),
        config=survey(weights),
        folder=weights[0].parent,
        weights=weights,
        **options,
    )

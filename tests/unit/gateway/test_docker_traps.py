"""Where Docker Model Runner's own gateway goes wrong, by its code and its issues: this one does not."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mrpack.model.overrides import Overrides
from mrpack_runtime.gateway.routes import RouteTable
from mrpack_runtime.protocols.dmr import parse_settings
from mrpack_runtime.protocols.refusal import RequestRefused
from mrpack_runtime.scheduling import Phase
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import CHAT, chat_body, gateway, metrics_with, until

NAME = "localhost/fake:latest"
TABLE = RouteTable.build()


@pytest.mark.parametrize("word", ["create", "load", "purge", "prune"])
def test_a_model_may_be_called_as_an_action_is(word: str) -> None:
    shown = TABLE.match("GET", f"/models/{word}")
    assert (shown.route.path, shown.name) == ("/models/{model}", word)
    pushed = TABLE.match("POST", f"/models/{word}/push")
    assert (pushed.route.path, pushed.name) == ("/models/{model}/push", word)
    removed = TABLE.match("DELETE", f"/models/ai/{word}")
    assert (removed.route.path, removed.name) == ("/models/{model}", f"ai/{word}")


def test_an_engine_that_will_not_end_holds_up_nobody_else(short_folder: Path) -> None:
    async def main() -> None:
        names = ("localhost/a:latest", "localhost/b:latest")
        async with gateway(short_folder, FakeEngine(mode="ignore-term"), models=names) as g:
            await g.client.chat("a")
            g.engine.mode = "ok"
            unloading = asyncio.create_task(g.client.post("/engines/unload", {"models": ["a"]}))
            await until(lambda: g.pool.snapshot()[0].phase is Phase.STOPPING)
            assert (await g.client.chat("b")).status == 200
            stubborn, other = (await g.client.get("/engines/ps")).json
            assert (stubborn["phase"], other["phase"]) == ("stopping", "ready")
            os.kill(stubborn["pid"], signal.SIGKILL)  # as we would, some seconds later
            assert (await unloading).json["unloaded_runners"] == 1

    asyncio.run(main())


def test_settings_that_change_during_a_load_count_for_the_next_request(short_folder: Path) -> None:
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(mode="wait")) as g:
            early = asyncio.create_task(g.client.chat())
            await until(lambda: g.engine.launches)
            body = {"model": "fake", "context-size": 99}
            assert (await g.client.post("/engines/_configure", body)).status == 202
            assert [shot.phase for shot in g.pool.snapshot()] == [Phase.LOADING]
            g.engine.let_go()
            g.engine.mode = "ok"
            assert (await g.client.chat()).status == 200
            assert (await early).status == 200
            assert len(g.engine.launches) == 2

    asyncio.run(main())


def test_a_request_changes_no_settings(short_folder: Path) -> None:
    async def main() -> None:
        async with gateway(short_folder) as g:
            g.configured.set(NAME, Overrides({"context_size": 99}))
            options = {"num_ctx": 4096, "num_gpu": 1}
            body = {**chat_body(), "options": options, "think": False, "keep_alive": "1h"}
            assert (await g.client.post("/api/chat", body)).status == 200
            assert (await g.client.post("/api/chat", chat_body())).status == 200
            assert len(g.engine.launches) == 1
            assert g.configured.get(NAME).values == {"context_size": 99}

    asyncio.run(main())


@pytest.mark.parametrize("flags", [["--n-predict", "-1"], ["--n-predict=-1"]])
def test_a_value_may_be_negative(flags: list[str]) -> None:
    assert parse_settings({"runtime-flags": flags}, "llamacpp").values == {"llamacpp.n_predict": -1}


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ({}, {}),
        ({"context-size": None}, {}),
        ({"context-size": -1}, {"context_size": -1}),
        ({"context-size": 4096}, {"context_size": 4096}),
    ],
)
def test_unset_unlimited_and_a_size_of_the_context_are_three_things(
    body: dict[str, Any], values: dict[str, Any]
) -> None:
    assert parse_settings(body, "llamacpp").values == values


@pytest.mark.parametrize("mode", ["crash", "server-error", "die-mid-stream", "garbage", "bad-json"])
def test_neither_lists_nor_errors_name_places_on_the_disk(short_folder: Path, mode: str) -> None:
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(mode=mode)) as g:
            answers = [
                await g.client.chat(),
                await g.client.chat(stream=True),
                await g.client.post(CHAT, {**chat_body(), "tools": 7}),
                *[await g.client.get(path) for path in ("/v1/models", "/models", "/api/tags", "/engines/ps")],
            ]
            for answer in answers:
                assert str(short_folder).encode() not in answer.body

    asyncio.run(main())


def test_a_wrong_value_is_named_as_the_request_has_it() -> None:
    with pytest.raises(RequestRefused, match=r"^vllm\.hf-overrides\.vllm\.gpu_memory_utilization: '7'"):
        parse_settings({"vllm": {"hf-overrides": {"gpu_memory_utilization": 7}}}, "vllm")


@pytest.mark.parametrize("tcp", [False, True])
def test_metrics_name_the_public_model_on_any_kind_of_endpoint(short_folder: Path, tcp: bool) -> None:
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(tcp=tcp)) as g:
            idle = (await g.client.get("/metrics")).body.decode()
            assert "mrpack_requests_waiting 0" in idle, "our own are there with no engine, too"
            await g.client.chat()
            told = (await metrics_with(g, f'backend="fake",model="{NAME}",mode="completion"')).body.decode()
            assert f'mrpack_engines{{model="{NAME}",engine="fake"' in told

    asyncio.run(main())

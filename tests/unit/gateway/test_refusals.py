"""What a gateway refuses, and with which error; more, for every engine, in tests/fakes/odd_requests."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mrpack_runtime.engine import Operation
from mrpack_runtime.scheduling import PoolLimits
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import CHAT, gateway


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("/engines/fake/v1/chat/completions", 409, "engine_mismatch"), (CHAT, 501, "unsupported")],
)
def test_what_no_engine_can_do_is_refused_before_any_starts(short_folder, path, status, code):
    async def main() -> None:
        async with gateway(short_folder) as g:
            g.library.add("localhost/plain:latest", b"plain", model_format="plain")
            answer = await g.client.post(path, {"model": "plain"})
            assert (answer.status, answer.json["error"]["code"]) == (status, code)
            assert not g.engine.launches

    asyncio.run(main())


def test_malformed_settings_of_an_artifact_are_its_fault(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            (g.library.find("fake").folder / "mrpack.json").write_text('{"host": "0.0.0.0"}')
            answer = await g.client.chat()
            assert (answer.status, answer.json["error"]["code"]) == (422, "invalid_artifact")

    asyncio.run(main())


def test_an_operation_that_no_engine_has_is_not_implemented(short_folder):
    async def main() -> None:
        engine = FakeEngine(operations=frozenset({Operation.COMPLETION}))
        async with gateway(short_folder, engine) as g:
            answer = await g.client.post("/v1/embeddings", {"model": "fake", "input": "x"})
            assert (answer.status, answer.json["error"]["code"]) == (501, "unsupported")

    asyncio.run(main())


def test_an_engine_that_is_not_installed_is_named_with_the_remedy(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(installed=False)) as g:
            answer = await g.client.chat()
            assert answer.status == 501
            assert "pip install fake-engine" in answer.json["error"]["message"]
            assert (await g.client.get("/engines/status")).json["fake"].startswith("Not Installed")

    asyncio.run(main())


def test_full_engines_are_told_with_retry_after(short_folder):
    async def main() -> None:
        limits = PoolLimits(max_loaded=1)
        async with gateway(
            short_folder, limits=limits, models=("localhost/a:latest", "localhost/b:latest")
        ) as g:
            _, writer = await g.client.start_stream("a", chunks=1000, delay=1)
            g.pool._schedule.limits = replace(limits, wait_s=0.1)
            answer = await g.client.chat("b")
            assert (answer.status, answer.json["error"]["code"]) == (503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
            writer.close()

    asyncio.run(main())


def test_a_wrong_method_is_told_the_right_ones(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            assert (await g.client.get(CHAT)).headers["allow"] == "POST, OPTIONS"
            answer = await g.client.request("OPTIONS", "/v1/models")
            assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")

    asyncio.run(main())

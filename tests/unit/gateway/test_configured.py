"""Settings that change while a gateway runs: no stream is cut, and no request gets the old ones."""

from __future__ import annotations

import asyncio
import threading

from mrpack.model.overrides import Overrides
from mrpack_runtime.machine.memory import Memory, MemoryLimit
from mrpack_runtime.scheduling import PoolLimits
from mrpack_runtime.settings.store import MemorySettings
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import gateway, read_events, until
from tests.waiting import DEADLINE_S

ENDLESS = {"chunks": 100_000, "delay": 0.01}


class Held(MemorySettings):
    """Another process holds the settings until it is told to let them go."""

    def __init__(self) -> None:
        super().__init__()
        self.was_asked = threading.Event()
        self.let_go = threading.Event()
        self.was_held = False

    def set(self, name: str, overrides: Overrides) -> None:
        self.was_asked.set()
        self.was_held = not self.let_go.wait(DEADLINE_S)
        super().set(name, overrides)


def test_settings_that_another_process_holds_keep_nobody_else_waiting(short_folder):
    async def main() -> None:
        kept = Held()
        async with gateway(short_folder, configured=kept) as g:
            body = {"model": "fake", "context-size": 99}
            asking = asyncio.create_task(g.client.post("/engines/_configure", body))
            await asyncio.to_thread(kept.was_asked.wait, DEADLINE_S)
            assert (await g.client.get("/health")).status == 200
            kept.let_go.set()
            assert (await asking).status == 202
            assert not kept.was_held

    asyncio.run(main())


def test_a_stream_under_way_ends_before_the_engine_changes(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.start_stream(chunks=40, delay=0.02)
            pid = g.pool.snapshot()[0].pid
            g.configured.set("localhost/fake:latest", Overrides({"context_size": 99}))
            answers = [asyncio.create_task(g.client.chat()) for _ in range(3)]
            assert [event async for event in read_events(reader)][-1] == "[DONE]"
            writer.close()
            assert [(await answer).status for answer in answers] == [200, 200, 200]
            assert g.pool.snapshot()[0].pid != pid
            assert len(g.engine.launches) == 2

    asyncio.run(main())


def test_what_the_engine_does_not_see_starts_nothing_anew(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            await g.client.chat()
            g.configured.set(
                "localhost/fake:latest", Overrides({"sampling.temperature": 0.5, "keep_alive": "-1"})
            )
            await g.client.chat()
            assert len(g.engine.launches) == 1
            assert g.pool.snapshot()[0].keep_alive_s is None
            assert (await g.engine_requests())[-1]["body"]["temperature"] == 0.5

    asyncio.run(main())


def test_two_names_of_one_model_may_have_settings_of_their_own(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            g.library.add("localhost/alias:latest", b"GGUF 0")
            g.configured.set("localhost/alias:latest", Overrides({"context_size": 99}))
            for name in ("localhost/fake", "localhost/alias", "localhost/fake", "localhost/alias"):
                assert (await g.client.chat(f"{name}:latest")).status == 200
            assert len(g.engine.launches) == 2
            assert {shot.model for shot in g.pool.snapshot()} == {
                "localhost/fake:latest",
                "localhost/alias:latest",
            }

    asyncio.run(main())


class _Measured(FakeEngine):
    """That says what it takes."""

    def memory(self, installation, bundle, settings, host) -> Memory:
        del installation, bundle, host
        return Memory((settings.context_size or 40) * 2**20)


def test_models_that_do_not_fit_beside_each_other_take_turns(short_folder):
    async def main() -> None:
        limits = PoolLimits(memory=MemoryLimit(100 * 2**20))
        names = tuple(f"localhost/m{n}:latest" for n in range(3))
        async with gateway(short_folder, _Measured(), limits=limits, models=names) as g:
            for name in names:
                assert (await g.client.chat(name)).status == 200
                whole = sum((shot.need for shot in g.pool.snapshot()), Memory())
                assert whole.host <= 100 * 2**20
            assert [shot.model for shot in g.pool.snapshot()] == list(names[1:])
            entries = (await g.client.get("/engines/ps")).json
            assert entries[0]["memory"] == {"host": 40 * 2**20, "gpus": []}

    asyncio.run(main())


def test_a_model_that_never_fits_is_refused_at_once_with_numbers(short_folder):
    async def main() -> None:
        limits = PoolLimits(memory=MemoryLimit(100 * 2**20))
        async with gateway(short_folder, _Measured(), limits=limits, settings='{"context_size": 200}') as g:
            answer = await g.client.chat()
            assert (answer.status, answer.json["error"]["code"]) == (507, "insufficient_memory")
            assert "200 MiB of memory, and engines may take 100 MiB" in answer.json["error"]["message"]
            assert not g.engine.launches
            assert not g.pool.waiting

    asyncio.run(main())


def test_what_is_busy_is_waited_for_and_never_taken(short_folder):
    async def main() -> None:
        limits = PoolLimits(memory=MemoryLimit(50 * 2**20))
        names = ("localhost/a:latest", "localhost/b:latest")
        async with gateway(short_folder, _Measured(), limits=limits, models=names) as g:
            _, writer = await g.client.start_stream(names[0], **ENDLESS)
            waiting = asyncio.create_task(g.client.chat(names[1]))
            await until(lambda: g.pool.waiting == 1)
            assert [shot.model for shot in g.pool.snapshot()] == [names[0]]
            writer.close()
            assert (await waiting).status == 200

    asyncio.run(main())

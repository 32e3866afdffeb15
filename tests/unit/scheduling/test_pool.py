"""The pool over a real engine program: what the schedule decides happens to processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mrpack.errors import EngineFailed, HostRefused, InvalidArtifact, MrpackError
from mrpack_runtime.engine import Operation
from mrpack_runtime.pool import _NEWS_S, Pool
from mrpack_runtime.processes.process import EngineProcess
from mrpack_runtime.processes.run_folders import make_run_folder, sweep_run_folders
from mrpack_runtime.resolver import Resolver
from mrpack_runtime.scheduling import Overloaded, Phase, PoolLimits
from mrpack_runtime.settings.merged import CommandSettings
from mrpack_runtime.want import Want
from mrpack_runtime.workshop import EngineWorkshop
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.folder_library import FolderLibrary
from tests.fakes.gateway import exists, this_host, until
from tests.processes import parent_of
from tests.waiting import DEADLINE_S


class Stage:
    """A pool, the models that it may be asked for, and the workshop behind it."""

    def __init__(self, folder: Path, engine: FakeEngine, limits: PoolLimits | None) -> None:
        for part in ("models", "run", "logs"):
            (folder / part).mkdir()
        self.run_base = folder / "run"
        self.library = FolderLibrary(folder / "models")
        self.engine = engine
        self.workshop = EngineWorkshop(this_host, self.run_base, folder / "logs")
        self.pool = Pool(self.workshop, limits)
        self._resolver = Resolver(self.library, {"fake": engine}, this_host, CommandSettings())

    async def want(self, name: str) -> Want:
        self.library.add(name, name.encode())
        return await self._resolver.resolve(name, None, Operation.COMPLETION)

    def phases(self) -> list[Phase]:
        return [snapshot.phase for snapshot in self.pool.snapshot()]


@asynccontextmanager
async def stage(
    folder: Path, engine: FakeEngine | None = None, limits: PoolLimits | None = None
) -> AsyncIterator[Stage]:
    found = Stage(folder, engine or FakeEngine(), limits)
    try:
        yield found
    finally:
        await found.pool.drain(0)
        assert not found.pool.snapshot()
        assert not any(found.run_base.iterdir())


def test_a_lease_counts_until_it_is_released(short_folder):
    async def main() -> None:
        async with stage(short_folder) as s:
            want = await s.want("a")
            first, second = await s.pool.acquire(want), await s.pool.acquire(want)
            assert s.pool.snapshot()[0].busy == 2
            first.release()
            first.release()
            assert s.pool.snapshot()[0].busy == 1
            second.release()
            assert s.pool.snapshot()[0].busy == 0

    asyncio.run(main())


def test_a_load_that_nobody_waits_for_any_more_is_kept(short_folder):
    async def main() -> None:
        async with stage(short_folder, FakeEngine(mode="wait")) as s:
            want = await s.want("a")
            asked = [asyncio.create_task(s.pool.acquire(want)) for _ in range(3)]
            await until(lambda: s.engine.launches)
            assert s.phases() == [Phase.LOADING]
            for task in asked:
                task.cancel()
            s.engine.let_go()
            await until(lambda: s.phases() == [Phase.READY])
            (await s.pool.acquire(want)).release()
            assert len(s.engine.launches) == 1

    asyncio.run(main())


def test_unloading_what_is_being_loaded_tells_those_who_wait(short_folder):
    async def main() -> None:
        async with stage(short_folder, FakeEngine(mode="hang")) as s:
            want = await s.want("a")
            asked = [asyncio.create_task(s.pool.acquire(want)) for _ in range(2)]
            await until(lambda: s.phases() == [Phase.LOADING])
            assert await s.pool.unload([want.key]) == 0
            assert await s.pool.unload([want.key], force=True) == 1
            for task in asked:
                with pytest.raises(EngineFailed, match=r"stopped|unloaded"):
                    await task

    asyncio.run(main())


def test_unloading_at_any_moment_leaves_nothing_behind(short_folder):
    async def main() -> None:
        async with stage(short_folder) as s:
            want = await s.want("a")
            for tenths in range(12):
                asked = asyncio.create_task(s.pool.acquire(want))
                await asyncio.sleep(tenths * 0.02)
                await s.pool.unload([want.key], force=True)
                with contextlib.suppress(EngineFailed):
                    (await asked).release()
                await s.pool.unload([want.key], force=True)
                await until(lambda: not s.pool.snapshot())

    asyncio.run(main())


def test_an_engine_that_dies_while_idle_is_noticed(short_folder):
    async def main() -> None:
        async with stage(short_folder) as s:
            want = await s.want("a")
            (await s.pool.acquire(want)).release()
            pid = s.pool.snapshot()[0].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not s.pool.snapshot())
            (await s.pool.acquire(want)).release()
            assert s.pool.snapshot()[0].pid != pid

    asyncio.run(main())


def test_a_broken_connection_is_blamed_on_the_death_behind_it(short_folder):
    async def main() -> None:
        async with stage(short_folder, FakeEngine(mode="crash-loop")) as s:
            lease = await s.pool.acquire(await s.want("a"))
            symptom = EngineFailed("the connection broke")
            with pytest.raises(EngineFailed):
                await lease.upstream.post("/v1/chat/completions", b'{"messages": []}')
            cause = await lease.blame(symptom)
            assert "GGML_ASSERT" in cause.log_tail
            lease.release()

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_death_is_blamed_even_if_the_leash_is_slow_to_tell_of_it(short_folder):
    async def main() -> None:
        async with stage(short_folder, FakeEngine(mode="crash-loop")) as s:
            lease = await s.pool.acquire(await s.want("a"))
            pid = s.pool.snapshot()[0].pid
            assert pid is not None
            leash = parent_of(pid)
            os.kill(leash, signal.SIGSTOP)
            with pytest.raises(EngineFailed):
                await lease.upstream.post("/v1/chat/completions", b'{"messages": []}')
            blaming = asyncio.create_task(lease.blame(EngineFailed("the connection broke")))
            await asyncio.wait({blaming}, timeout=_NEWS_S + 0.5)
            os.kill(leash, signal.SIGCONT)
            assert "GGML_ASSERT" in (await blaming).log_tail
            lease.release()

    asyncio.run(main())


class Failing(EngineWorkshop):
    """Cannot make a process."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(this_host, Path(), Path())
        object.__setattr__(self, "error", error)

    def make(self, want: Want, still_wanted: Callable[[], None]) -> EngineProcess:
        raise self.error


@pytest.mark.parametrize("error", [InvalidArtifact("bad model"), HostRefused("disk full")])
def test_what_is_not_the_engines_fault_is_no_crash(short_folder, error):
    async def main() -> None:
        s = Stage(short_folder, FakeEngine(), None)
        want = await s.want("a")
        pool = Pool(Failing(error), PoolLimits(crash_limit=1))
        for _ in range(3):
            with pytest.raises(type(error)):
                await pool.acquire(want)
        await pool.drain(0)

    asyncio.run(main())


def test_who_waits_too_long_for_room_is_told_to_come_back(short_folder):
    async def main() -> None:
        async with stage(short_folder, limits=PoolLimits(max_loaded=1)) as s:
            a, b = await s.want("a"), await s.want("b")
            lease = await s.pool.acquire(a)
            s.pool._schedule.limits = PoolLimits(max_loaded=1, wait_s=0.05)
            with pytest.raises(Overloaded) as caught:
                await s.pool.acquire(b)
            assert caught.value.retry_after_s > 0
            lease.release()
            s.pool._schedule.limits = PoolLimits(max_loaded=1)
            (await s.pool.acquire(b)).release()
            assert [snapshot.model for snapshot in s.pool.snapshot()] == ["b"]

    asyncio.run(main())


def test_a_load_may_take_longer_than_requests_wait_for_room(short_folder):
    async def main() -> None:
        slow = FakeEngine(mode="slow", arguments=("--load-time", "0.3"))
        async with stage(short_folder, slow, PoolLimits(wait_s=0.01)) as s:
            (await s.pool.acquire(await s.want("a"))).release()
            assert s.phases() == [Phase.READY]

    asyncio.run(main())


def test_draining_refuses_who_comes_and_who_waits(short_folder):
    async def main() -> None:
        async with stage(short_folder, limits=PoolLimits(max_loaded=1)) as s:
            a, b = await s.want("a"), await s.want("b")
            lease = await s.pool.acquire(a)
            waiting = asyncio.create_task(s.pool.acquire(b))
            await asyncio.sleep(0)
            draining = asyncio.create_task(s.pool.drain(60))
            with pytest.raises(Overloaded):
                await waiting
            with pytest.raises(Overloaded):
                await s.pool.acquire(a)
            assert not draining.done()
            pid = s.pool.snapshot()[0].pid
            s.pool.hurry()
            await draining
            assert not exists(Path(f"/proc/{pid}"))
            lease.release()

    asyncio.run(main())


def test_draining_does_not_wait_for_loads_that_can_serve_nobody_any_more(short_folder):
    async def main() -> None:
        async with stage(short_folder, FakeEngine(mode="hang")) as s:
            want = await s.want("a")
            waiting = [asyncio.create_task(s.pool.acquire(want)) for _ in range(2)]
            await until(lambda: s.phases() == [Phase.LOADING])
            draining = asyncio.create_task(s.pool.drain(3600))
            async with asyncio.timeout(DEADLINE_S):
                for task in waiting:
                    with pytest.raises(Overloaded):
                        await task
                await draining
            assert not s.pool.snapshot()

    asyncio.run(main())


def test_a_preview_starts_nothing_and_leaves_nothing(short_folder):
    async def main() -> None:
        async with stage(short_folder) as s:
            launch = s.workshop.preview(await s.want("a"))
            assert launch.engine == "fake"
            lost = EngineWorkshop(this_host, short_folder / "none", short_folder / "logs")
            want = await s.want("a")
            with pytest.raises(MrpackError):
                lost.preview(want)

    asyncio.run(main())


def test_run_folders_of_killed_gateways_are_swept_and_no_others(short_folder):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = short_folder / f"mrpack-{dead.pid}-abc"
    (left / "inside").mkdir(parents=True)
    kept = [
        short_folder / name for name in (f"mrpack-{os.getpid()}-abc", "mrpack-abc", f"other-{dead.pid}-a")
    ]
    for folder in kept:
        folder.mkdir()
    (short_folder / f"mrpack-{dead.pid}-link").symlink_to(kept[0])
    own = make_run_folder(short_folder)
    sweep_run_folders(short_folder)
    assert not left.exists()
    assert all(folder.is_dir() for folder in (*kept, own))
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    sweep_run_folders(short_folder / "none")
    with pytest.raises(MrpackError):
        make_run_folder(short_folder / "none")

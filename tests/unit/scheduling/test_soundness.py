"""`serve --verify`: what an engine opens is hashed first, and nothing starts when it was changed."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mrpack.errors import IntegrityError
from mrpack.verbs.package import PackageRequest, package
from mrpack.workspace import Workspace, open_workspace
from mrpack_runtime.engine import ModelBundle, Operation
from mrpack_runtime.models.soundness import check_files
from mrpack_runtime.models.store_library import StoreLibrary
from mrpack_runtime.pool import Pool
from mrpack_runtime.resolver import Resolver
from mrpack_runtime.scheduling import Overloaded
from mrpack_runtime.settings.merged import CommandSettings
from mrpack_runtime.workshop import EngineWorkshop
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import this_host
from tests.fakes.tiny_safetensors import write_qwen2
from tests.waiting import DEADLINE_S, until


@pytest.fixture
def workspace(home: Path) -> Workspace:
    return open_workspace({"MRPACK_HOME": str(home), "MRPACK_CONFIG_HOME": str(home)})


def change(path: Path) -> None:
    """As a disk that goes bad: size, times and name stay. What looks changed is laid out anew."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def go_on() -> None:
    """Of somebody who waits."""


def test_a_changed_file_of_many_is_named(workspace: Workspace, tmp_path: Path) -> None:
    package(workspace, PackageRequest(source=write_qwen2(tmp_path / "qwen", shards=2)), "m")
    bundle = StoreLibrary(workspace).find("m")
    check_files(workspace, bundle, go_on)
    change(bundle.weights[1])
    with pytest.raises(IntegrityError) as caught:
        check_files(workspace, bundle, go_on)
    assert bundle.weights[1].name in caught.value.message
    assert caught.value.message.startswith("m: ")


def test_no_engine_starts_with_changed_files(
    workspace: Workspace, tiny_model: Path, short_folder: Path
) -> None:
    package(workspace, PackageRequest(source=tiny_model), "m")
    library, engine = StoreLibrary(workspace), FakeEngine()
    workshop = EngineWorkshop(
        this_host, short_folder, short_folder / "logs", check=partial(check_files, workspace)
    )

    async def main() -> None:
        pool = Pool(workshop)
        resolver = Resolver(library, {engine.name: engine}, this_host, CommandSettings())
        want = await resolver.resolve("m", None, Operation.COMPLETION)
        (await pool.acquire(want)).release()
        await pool.unload([want.key])
        change(want.bundle.weights[0])
        for _ in range(5):  # and it is no crash loop
            with pytest.raises(IntegrityError):
                await pool.acquire(want)
        assert len(engine.launches) == 1
        await pool.drain(1.0)

    asyncio.run(main())


def test_a_look_that_nobody_waits_for_any_more_ends_at_once(workspace: Workspace, tiny_model: Path) -> None:
    package(workspace, PackageRequest(source=tiny_model), "m")

    class Gone(Exception):
        pass

    def gone() -> None:
        raise Gone

    with pytest.raises(Gone):
        check_files(workspace, StoreLibrary(workspace).find("m"), gone)


def test_a_gateway_that_stops_does_not_look_through_large_models_first(
    workspace: Workspace, tiny_model: Path, short_folder: Path
) -> None:
    package(workspace, PackageRequest(source=tiny_model), "m")
    began = threading.Event()

    def look(_model: ModelBundle, still_wanted: Callable[[], None]) -> None:
        began.set()
        until(still_wanted)  # as long as nobody objects

    engine = FakeEngine()
    workshop = EngineWorkshop(this_host, short_folder, short_folder / "logs", check=look)

    async def main() -> None:
        pool = Pool(workshop)
        resolver = Resolver(StoreLibrary(workspace), {engine.name: engine}, this_host, CommandSettings())
        waiting = asyncio.create_task(pool.acquire(await resolver.resolve("m", None, Operation.COMPLETION)))
        await asyncio.to_thread(began.wait, DEADLINE_S)
        await pool.drain(0)
        with pytest.raises(Overloaded):
            await waiting
        assert not engine.launches

    asyncio.run(main())

"""Registries killed and started again in the middle of a transfer: it goes on, and every byte is right."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.content.progress import Advanced, Event
from mrpack.distribution import Limits, RegistryServer
from mrpack.distribution.registry import Rules
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest
from mrpack.registry import RegistrySession, RegistryTarget
from mrpack.store.layout import OciLayout
from tests.fakes.distribution import Distribution
from tests.ports import lasting_port

pytestmark = [pytest.mark.registry, pytest.mark.slow]

MIB = 1024 * 1024
SIZE = 8 * MIB
ROUNDS = 20


class Running(Protocol):
    @property
    def name(self) -> str: ...

    def close(self) -> None: ...


class Serving:
    """Our own registry over a folder, in a thread. Its end is as sudden as that of a process."""

    def __init__(self, folder: Path, port: int) -> None:
        rules, limits = Rules(writable=True, deletes=True), Limits(grace_s=0)
        self._server = RegistryServer(OciLayout(folder), rules, port=port, limits=limits)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        self.name = self._server.address

    def close(self) -> None:
        self._server.stop()
        self._thread.join()
        self._server.close()


def start_distribution(folder: Path, address: str) -> Running:
    return Distribution(folder, {"http": {"addr": address}})


def start_our_own(folder: Path, address: str) -> Running:
    return Serving(folder, int(address.rpartition(":")[2]))


@dataclass
class Restarted:
    """A registry that is killed and started on the same address when a transfer is at certain bytes."""

    start: Callable[[Path, str], Running]
    folder: Path

    def __post_init__(self) -> None:
        self.name = f"127.0.0.1:{lasting_port()}"
        self._now = self.start(self.folder, self.name)
        self.restarts = 0
        self._at: list[int] = []
        self._lock = threading.Lock()

    def interrupt_at(self, *positions: int) -> None:
        self._at = sorted(positions)

    def watch(self, event: Event) -> None:
        """A report of `copy`."""
        with self._lock:
            if isinstance(event, Advanced) and self._at and event.position >= self._at[0]:
                self._at.pop(0)
                self._now.close()
                self._now = self.start(self.folder, self.name)
                self.restarts += 1

    def close(self) -> None:
        self._now.close()


@pytest.fixture(params=["distribution", "registry serve"])
def registry(request: pytest.FixtureRequest, docker_registry: None, tmp_path: Path) -> Iterator[Restarted]:
    start = start_distribution if request.param == "distribution" else start_our_own
    restarted = Restarted(start, tmp_path / "registry")
    yield restarted
    restarted.close()


def model(folder: Path, seed: int) -> tuple[OciLayout, Manifest, Descriptor]:
    """Under the tag v1 in a layout: the store's way, so that files go out by the kernel."""
    memory = MemoryTarget()
    config = memory.add("application/vnd.oci.empty.v1+json", b"{}")
    weights = memory.add("a/b", random.Random(seed).randbytes(SIZE))
    manifest = Manifest.build(config=config, layers=[weights])
    memory.push_manifest(manifest.descriptor, manifest.raw, "v1")
    layout = OciLayout(folder)
    copy(memory, "v1", layout, "v1")
    return layout, manifest, weights


def test_a_push_survives_a_restart_at_any_byte(registry: Restarted, tmp_path: Path) -> None:
    chance = random.Random(1)
    with RegistrySession() as session, ExitStack() as held:
        held.callback(lambda: None)
        for number in range(ROUNDS // 2):
            layout, manifest, weights = model(tmp_path / f"layout-{number}", number)
            target = RegistryTarget(session, registry.name, f"team/m{number}", chunks=(MIB,))
            registry.interrupt_at(chance.randrange(SIZE))
            copy(layout, "v1", target, "v1", report=registry.watch)
            assert target.resolve("v1").digest == manifest.descriptor.digest
            back = OciLayout(tmp_path / f"back-{number}")
            copy(target, "v1", back, "v1")
            assert (
                back.blobs.path(weights.digest).read_bytes() == layout.blobs.path(weights.digest).read_bytes()
            )
    assert registry.restarts == ROUNDS // 2


def test_a_pull_survives_restarts_and_fetches_nothing_twice(registry: Restarted, tmp_path: Path) -> None:
    layout, manifest, weights = model(tmp_path / "layout", 0)
    chance = random.Random(2)
    moved = 0

    def watch(event: Event) -> None:
        nonlocal moved
        if isinstance(event, Advanced) and event.blob == weights:
            moved = max(moved, event.position)
        registry.watch(event)

    with RegistrySession() as session:
        target = RegistryTarget(session, registry.name, "team/model")
        copy(layout, "v1", target, "v1")
        for number in range(ROUNDS // 2):
            registry.interrupt_at(chance.randrange(SIZE))
            back = OciLayout(tmp_path / f"back-{number}")
            copy(target, "v1", back, "v1", report=watch)
            assert back.resolve("v1").digest == manifest.descriptor.digest
            assert os.path.getsize(back.blobs.path(weights.digest)) == SIZE
    assert registry.restarts == ROUNDS // 2
    assert moved == SIZE

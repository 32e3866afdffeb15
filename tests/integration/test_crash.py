"""Nothing corrupts the store: a bounded part of what the programs in tests/crash do in full."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.crash import namespace, strace
from tests.crash.crowd import crowd
from tests.crash.disks import TRIALS
from tests.crash.fault_points import fail_everywhere
from tests.crash.interleavings import interleave, meet, meetings, removers
from tests.crash.interruptions import interrupt, open_stage
from tests.crash.kill_points import kill_everywhere, kill_repair
from tests.crash.kill_rounds import kill_again_and_again
from tests.crash.replay import UNKNOWN, kills, lose_power
from tests.crash.world import World, environment_of, open_world
from tests.crash.zygote import ROOT, Zygote
from tests.demands import demand
from tests.fakes.registry import FakeRegistry, Reply, Request
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Those that write on this machine.
OPERATIONS = [
    *("pull", "parts", "package", "set", "import", "copy", "export", "extract", "tag", "rm", "gc"),
    "resolve",
]
# What the kernel moves past a process cannot be replayed.
REPLAYED = [name for name in OPERATIONS if name not in UNKNOWN]
Stage = tuple[World, Zygote]


def wrong(results: Iterable[tuple[str, list[str]]], at_least: int) -> list[str]:
    """All problems; and fails when fewer points than these were tried."""
    tried = list(results)
    assert len(tried) >= at_least
    return [f"{point}: {problem}" for point, problems in tried for problem in problems]


@pytest.fixture(scope="module")
def tracing() -> None:
    demand(strace.missing())


@pytest.fixture(scope="module")
def mounting() -> None:
    """Who is not root may be without user namespaces, in CI too."""
    reason = namespace.missing()
    if reason and os.geteuid() != 0:
        pytest.skip(f"{reason}: small and read-only disks were NOT tried")
    demand(reason)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_world(tmp_path_factory.mktemp("world")) as (world, zygote, _registry):
        yield world, zygote


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_kill_at_a_system_call_breaks_nothing(name: str, stage: Stage, tracing: None) -> None:
    world, zygote = stage
    assert wrong(kill_everywhere(world, zygote, world.operations()[name], every=7), at_least=5) == []


@pytest.mark.parametrize("name", ["pull", "parts", "package", "export", "extract"])
def test_ctrl_c_at_a_system_call_gives_one_line_and_breaks_nothing(
    name: str, stage: Stage, tracing: None
) -> None:
    world, zygote = stage
    points = kill_everywhere(world, zygote, world.operations()[name], every=11, signal="INT")
    assert wrong(points, at_least=5) == []


def test_signals_at_random_moments_leave_nothing_running_or_broken(tmp_path: Path) -> None:
    chance = random.Random(1)
    with open_stage(tmp_path) as interrupted:
        operations = interrupted.operations()
        for name in ("pull", "extract", "quantize"):
            assert wrong(interrupt(interrupted, operations[name], 1, chance), at_least=6) == []


def test_a_repair_that_is_killed_can_be_repeated(stage: Stage, tracing: None) -> None:
    assert wrong(kill_repair(*stage, every=7), at_least=5) == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_failed_system_call_gives_one_clear_line_and_breaks_nothing(
    name: str, stage: Stage, tracing: None
) -> None:
    world, zygote = stage
    assert wrong(fail_everywhere(world, zygote, world.operations()[name], every=9), at_least=8) == []


@pytest.mark.parametrize("name", REPLAYED)
def test_no_name_outlives_its_bytes_when_power_fails(name: str, stage: Stage, tracing: None) -> None:
    states, problems = lose_power(*stage, stage[0].operations()[name])
    assert problems == []
    assert states > 10


@pytest.mark.parametrize("name", REPLAYED)
def test_nor_when_it_fails_after_a_kill(name: str, stage: Stage, tracing: None) -> None:
    world, zygote = stage
    runs = list(kills(world, zygote, world.operations()[name], every=3))
    assert [problem for _, problems in runs for problem in problems] == []
    assert len(runs) >= 2


def test_gc_and_writers_may_meet_anywhere(stage: Stage, tracing: None, tmp_path: Path) -> None:
    world, zygote = stage
    with Zygote(tmp_path, environment_of(world), one_thread=True) as beside:
        names = dict.fromkeys(stopped.name for stopped, _ in meetings(world))
        met = [point for name in names for point in interleave(world, (zygote, beside), name, every=17)]
        assert wrong(met, at_least=30) == []


def test_repair_and_gc_may_meet_at_every_write(stage: Stage, tracing: None, tmp_path: Path) -> None:
    """What one writes aside must not be a leftover to the other."""
    world, zygote = stage
    removing = removers()
    with Zygote(tmp_path, environment_of(world), one_thread=True) as beside:
        met = meet(world, (zygote, beside), removing["repair"], removing["gc"], ["write"])
        assert wrong(met, at_least=2) == []


def test_random_kills_of_two_processes_break_nothing(tmp_path: Path) -> None:
    rounds = list(kill_again_and_again(tmp_path, 20))
    assert [problem for problems in rounds for problem in problems] == []


@pytest.mark.parametrize("no_flock", [False, True], ids=["locks", "locks_that_lie"])
def test_a_crowd_loses_no_name_and_no_byte(no_flock: bool, tmp_path: Path) -> None:
    assert crowd(tmp_path, processes=8, steps=40, no_flock=no_flock) == []


@pytest.mark.parametrize("kind", TRIALS)
def test_small_and_read_only_disks(kind: str, mounting: None) -> None:
    """In a process of its own: disks are mounted for it alone."""
    command = [sys.executable, "-m", "tests.crash.disks", "--operation", kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 with problems" in done.stdout


SIZE = 6 * 1024 * 1024
CUTS = 20


class CutRegistry:
    """Sends a blob up to a byte and then stalls; counts the bytes of it that it sends."""

    def __init__(self, registry: FakeRegistry) -> None:
        self._content = os.urandom(SIZE)
        manifest = registry.add("team/cut", "v1", b"{}", self._content)
        self.digest = manifest.layers[0].digest
        self.reference = f"{registry.address}/team/cut:v1"
        self.stop: int | None = None
        self.sent = 0
        registry.fault("team/cut", self._answer)

    def _answer(self, request: Request, reply: Reply) -> Reply:
        if request.method != "GET" or request.name != str(self.digest):
            return reply
        assert isinstance(reply.body, bytes)
        start = SIZE - len(reply.body)
        if self.stop is not None:
            keep = max(1, self.stop - start)
            self.sent += min(keep, len(reply.body))
            return Reply(reply.status, reply.headers, reply.body, keep=keep, end="stall")
        self.sent += len(reply.body)
        return reply


@pytest.mark.parametrize("cut", range(CUTS))
def test_a_killed_pull_fetches_only_what_is_missing(cut: int, tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        world = World(tmp_path, registry.address)
        source = CutRegistry(registry)
        source.stop = 1 + (SIZE - 2) * cut // (CUTS - 1)
        # What was received and not yet written goes with the process.
        received = max(0, source.stop - 1024 * 1024)
        with Zygote(tmp_path / "zygote", environment_of(world)) as zygote:
            pulling = zygote.begin(["pull", source.reference, "--quiet"]).go()
            until(lambda: source.sent and partial(world) >= received, "the first bytes")
            assert pulling.kill().code == -9
            source.stop, source.sent = None, 0
            again = zygote.mrpack("pull", source.reference, "--quiet")
        assert again.code == 0, again
        assert source.sent <= SIZE - received
        assert (world.home / "store" / "blobs" / "sha256" / source.digest.hex).stat().st_size == SIZE


def partial(world: World) -> int:
    """Bytes in part files, some of which are being given their names."""
    size = 0
    for path in (world.home / "store" / "ingest").glob("*.part"):
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size

"""gc at every moment of operations that write, and they at every moment of gc.

One is stopped at its Nth system call, the other runs until it ends or waits for a lock, then both end.

    python -m tests.crash.interleavings [--operation gc] [--every 5]
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.crash import invariants
from tests.crash.reporting import asked, tell
from tests.crash.strace import CALLS, calls_of, stop_at
from tests.crash.world import Operation, World, environment_of, open_world
from tests.crash.zygote import Ended, Zygote

_OLD, _GONE, _ALIAS, _WARM, _COPIED = (
    f"docker.io/team/{name}:v1" for name in ("old", "gone", "alias", "warm", "copied")
)
# Refused because of the other, which is fine for gc; not found, for who wants what `rm` has removed.
_BUSY, _NOT_FOUND = 8, 3


@dataclass(frozen=True)
class Party:
    """One of two that meet, and the exit codes it may have. What it ends with has its names afterwards."""

    operation: Operation
    codes: frozenset[int] = frozenset({0})

    @property
    def name(self) -> str:
        return self.operation.name


def _party(name: str, *arguments: str, end: str = "", or_else: int = 0) -> Party:
    names = frozenset({end} if end else ())
    return Party(Operation(name, arguments, "used", names), frozenset({0, or_else}))


def writers(world: World) -> dict[str, Party]:
    """Several count on blobs of `gone`, which gc is about to remove."""
    gone, setting = str(world.model("gone")), ("--set", "sampling.temperature=0.5")
    copied = f"oci:{world.home}/store:{_COPIED}"
    found = (
        _party("pull", "pull", world.remote, end=world.remote),
        _party("pull of shared blobs", "pull", world.shared, end=world.shared),
        _party("package", "package", gone, _GONE, end=_GONE),
        _party("set", "package", "--from", _OLD, _WARM, *setting, end=_WARM, or_else=_NOT_FOUND),
        _party("import", "import", str(world.archive), end=_GONE),
        _party("copy", "copy", world.layout, copied, end=_COPIED),
        _party("tag", "tag", _OLD, _ALIAS, end=_ALIAS, or_else=_NOT_FOUND),
        _party("push", "push", _OLD, f"{world.registry}/team/pushed:v1", or_else=_NOT_FOUND),
        _party("resolve", "resolve", _OLD, or_else=_NOT_FOUND),
    )
    return {party.name: party for party in found}


def removers() -> dict[str, Party]:
    found = (
        _party("gc", "gc", or_else=_BUSY),
        _party("rm", "rm", _OLD, or_else=_BUSY),
        _party("repair", "repair", or_else=_BUSY),
    )
    return {party.name: party for party in found}


def meetings(world: World) -> Iterator[tuple[Party, Party]]:
    """Who is stopped, and for whom: every writer and every remover, either way, removers, and writers of one
    thing.
    """
    writing, removing = writers(world), removers()
    yield from itertools.permutations(removing.values(), 2)
    yield removing["gc"], _party("second gc", "gc", or_else=_BUSY)
    for writer in writing.values():
        for remover in removing.values():
            yield writer, remover
            yield remover, writer
    twin = _party("twin", "pull", world.remote, end=world.remote)
    yield writing["pull"], twin
    yield writing["import"], writing["package"]
    yield writing["package"], writing["import"]
    yield writing["pull of shared blobs"], writing["copy"]


def interleave(
    world: World, zygotes: tuple[Zygote, Zygote], name: str, *, every: int = 1, first: int = 1
) -> Iterator[tuple[str, list[str]]]:
    """Who of that `name` was stopped where for whom, and what was wrong then."""
    calls: list[str] = []
    for stopped, other in meetings(world):
        if stopped.name != name:
            continue
        if not calls:
            world.reset("used")
            present = calls_of(stopped.operation.begin(zygotes[0]), world.log)
            calls = [call for call in CALLS if call in present]
        yield from meet(world, zygotes, stopped, other, calls, every=every, first=first)


def meet(
    world: World,
    zygotes: tuple[Zygote, Zygote],
    stopped: Party,
    other: Party,
    calls: Iterable[str],
    *,
    every: int = 1,
    first: int = 1,
) -> Iterator[tuple[str, list[str]]]:
    for call in calls:
        for number in itertools.count(first, every):
            world.reset("used")
            running = stopped.operation.begin(zygotes[0])
            tracer = stop_at(running, world.log, call, number)
            if tracer is None:
                break
            beside = other.operation.begin(zygotes[1]).go()
            beside.settle()
            os.kill(running.pid, signal.SIGCONT)
            ended = {stopped: tracer.wait().ended, other: beside.wait()}
            point = f"{stopped.name} stopped at {call} {number} for {other.name}"
            yield point, list(_check(world, ended))


def _check(world: World, ended: Mapping[Party, Ended]) -> Iterator[str]:
    names = invariants.tags(world.home)
    for party, result in ended.items():
        if result.code not in party.codes:
            yield f"{party.name} ended with {result.code}: {result.err[-500:]}"
        if result.code == 0:
            yield from (f"{name} is lost" for name in party.operation.end - set(names))
    yield from invariants.check_store(world.home)


def main(arguments: Sequence[str] | None = None) -> int:
    options = asked(__doc__, arguments)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_world(Path(folder)) as (world, zygote, _registry),
        Zygote(Path(folder) / "beside", environment_of(world), one_thread=True) as beside,
    ):
        runs = {
            name: interleave(world, (zygote, beside), name, every=options.every)
            for name in dict.fromkeys(stopped.name for stopped, _ in meetings(world))
        }
        return tell(runs, options.operation, "interleavings")


if __name__ == "__main__":
    sys.exit(main())

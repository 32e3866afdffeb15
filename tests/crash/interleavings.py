"""gc at every moment of operations that write, and they at every moment of gc.

One is stopped at its Nth system call, the other runs until it ends or waits for a lock, then both end.

    python -m tests.crash.interleavings
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.crash import invariants
from tests.crash.strace import CALLS, stop_at
from tests.crash.world import Operation, World, arguments_of, environment_of, open_world
from tests.crash.zygote import Zygote

_OLD, _GONE, _ALIAS = (f"docker.io/team/{name}:v1" for name in ("old", "gone", "alias"))
# Refused because of the other, which is fine for gc; not found, for `tag` after `rm`.
_BUSY, _NOT_FOUND = 8, 3


def writers(world: World) -> dict[str, tuple[Operation, frozenset[int]]]:
    """Each with the exit codes it may have. `package` counts on blobs that gc is about to remove."""
    gone = str(world.model("gone"))
    return {
        "pull": (
            Operation("pull", ("pull", world.remote), "used", frozenset({world.remote})),
            frozenset({0}),
        ),
        "package": (
            Operation("package", ("package", gone, _GONE), "used", frozenset({_GONE})),
            frozenset({0}),
        ),
        "tag": (
            Operation("tag", ("tag", _OLD, _ALIAS), "used", frozenset({_ALIAS})),
            frozenset({0, _NOT_FOUND}),
        ),
    }


def removers() -> dict[str, Operation]:
    return {
        "gc": Operation("gc", ("gc",), "used", frozenset()),
        "rm": Operation("rm", ("rm", _OLD), "used", frozenset()),
    }


def interleave(
    world: World, zygotes: tuple[Zygote, Zygote], *, every: int = 1, first: int = 1
) -> Iterator[tuple[str, list[str]]]:
    """Which stopped where for which, and what was wrong then."""
    for writer, allowed in writers(world).values():
        for remover in removers().values():
            yield from _everywhere(world, zygotes, writer, remover, allowed, every, first)
            yield from _everywhere(world, zygotes[::-1], remover, writer, allowed, every, first)


def _everywhere(
    world: World,
    zygotes: Sequence[Zygote],
    stopped: Operation,
    other: Operation,
    allowed: frozenset[int],
    every: int,
    first: int,
) -> Iterator[tuple[str, list[str]]]:
    for call in CALLS:
        number = first
        while True:
            world.reset("used")
            running = zygotes[0].begin(arguments_of(stopped))
            tracer = stop_at(running, world.folder / "strace.log", call, number)
            if tracer is None:
                break
            beside = zygotes[1].begin(arguments_of(other)).go()
            beside.settle()
            os.kill(running.pid, signal.SIGCONT)
            codes = {stopped.name: tracer.wait().ended.code, other.name: beside.wait().code}
            point = f"{stopped.name} stopped at {call} {number} for {other.name}"
            yield point, list(_check(world, codes, stopped.end | other.end, allowed))
            number += every


def _check(
    world: World, codes: dict[str, int], wanted: frozenset[str], allowed: frozenset[int]
) -> Iterator[str]:
    for name, code in codes.items():
        if code not in (allowed if name not in removers() else {0, _BUSY}):
            yield f"{name} ended with {code}"
    if 0 in (code for name, code in codes.items() if name not in removers()):
        yield from (f"{name} is lost" for name in wanted - set(invariants.tags(world.home)))
    yield from invariants.check_store(world.home)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args(arguments)
    points = failures = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        open_world(Path(folder)) as (world, zygote, _registry),
        Zygote(Path(folder) / "beside", environment_of(world), one_thread=True) as beside,
    ):
        for point, problems in interleave(world, (zygote, beside), every=options.every):
            points += 1
            failures += bool(problems)
            for problem in problems:
                print(f"{point}: {problem}", flush=True)
    print(f"{points} interleavings, {failures} with problems")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

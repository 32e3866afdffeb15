"""kill -9 at every system call of an operation, one run each.

python -m tests.crash.kill_points [--operation pull] [--every 5]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.crash import invariants
from tests.crash.strace import CALLS, inject
from tests.crash.world import Operation, World, arguments_of, open_world
from tests.crash.zygote import Zygote


def kill_everywhere(
    world: World, zygote: Zygote, operation: Operation, *, every: int = 1, first: int = 1
) -> Iterator[tuple[str, list[str]]]:
    """The point of each kill and what it broke: every so many of each kind of call, from the `first` on."""
    for call in CALLS:
        number = first
        while True:
            world.reset(operation.start)
            running = zygote.begin(arguments_of(operation))
            traced = inject(running, world.folder / "strace.log", call, number, "signal=KILL")
            if not traced.was_killed:
                break
            yield f"{operation.name}: {call} {number}", check_aftermath(world, zygote, operation)
            number += every


def kill_repair(
    world: World, zygote: Zygote, *, every: int = 1, first: int = 1
) -> Iterator[tuple[str, list[str]]]:
    """The same for the operation that starts with a broken store: no index, and a blob with a wrong bit."""
    operation = Operation("repair", ("repair",), "used", frozenset({"docker.io/team/old:v1"}))
    for call in CALLS:
        number = first
        while True:
            world.reset(operation.start)
            _damage(world)
            traced = inject(
                zygote.begin(arguments_of(operation)),
                world.folder / "strace.log",
                call,
                number,
                "signal=KILL",
            )
            if not traced.was_killed:
                break
            again = zygote.mrpack(*arguments_of(operation))
            problems = [] if again.code == 0 else [f"a repetition fails: {again}"]
            if set(invariants.tags(world.home)) != operation.end:
                problems.append(f"the names are {invariants.tags(world.home)}")
            yield f"repair: {call} {number}", [*problems, *invariants.check_store(world.home)]
            number += every


def _damage(world: World) -> None:
    store = world.home / "store"
    (store / "index.json").unlink()
    digest = hashlib.sha256(world.model("gone").read_bytes()).hexdigest()
    blob = store / "blobs" / "sha256" / digest
    content = blob.read_bytes()
    blob.unlink()  # it is a link to the model file
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def check_aftermath(world: World, zygote: Zygote, operation: Operation) -> list[str]:
    """The store is whole at once; the operation can be repeated; gc finds all that was left lying about."""
    before = set(invariants.tags(world.home))
    problems = invariants.check_store(world.home)
    allowed = {*operation.end, *_start_tags(world, operation)}
    if not before <= allowed:
        problems.append(f"names out of nowhere: {before - allowed}")
    again = zygote.mrpack(*arguments_of(operation))
    if again.code not in operation.again:
        problems.append(f"a repetition fails: {again}")
    problems += invariants.check_store(world.home)
    if set(invariants.tags(world.home)) != operation.end:
        problems.append(f"after a repetition the names are {invariants.tags(world.home)}")
    collected = zygote.mrpack("gc", "--json")
    if collected.code != 0:
        problems.append(f"gc fails: {collected}")
    problems += [f"gc leaves {path.name}" for path in invariants.leftovers(world.home)]
    return problems + invariants.check_store(world.home)


def _start_tags(world: World, operation: Operation) -> set[str]:
    return set(invariants.tags(world.folder / operation.start))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operation", action="append", help="default: all")
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args(arguments)
    points = failures = 0
    with tempfile.TemporaryDirectory() as folder, open_world(Path(folder)) as (world, zygote, _registry):
        for name, operation in world.operations().items():
            if options.operation and name not in options.operation:
                continue
            begun = points
            for point, problems in kill_everywhere(world, zygote, operation, every=options.every):
                points += 1
                failures += bool(problems)
                for problem in problems:
                    print(f"{point}: {problem}", flush=True)
            print(f"{name}: {points - begun} kill points", flush=True)
        if not options.operation or "repair" in options.operation:
            for point, problems in kill_repair(world, zygote, every=options.every):
                points += 1
                failures += bool(problems)
                for problem in problems:
                    print(f"{point}: {problem}", flush=True)
    print(f"{points} kill points, {failures} with problems")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

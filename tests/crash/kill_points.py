"""kill -9 at every system call of an operation, one run each.

python -m tests.crash.kill_points [--operation pull] [--every 5]
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.crash import invariants
from tests.crash.reporting import asked, tell
from tests.crash.strace import CALLS, inject_everywhere
from tests.crash.world import Operation, World, open_world
from tests.crash.zygote import Running, Zygote

_KILLS = [(call, "signal=KILL") for call in CALLS]


def kill_everywhere(
    world: World, zygote: Zygote, operation: Operation, *, every: int = 1, first: int = 1
) -> Iterator[tuple[str, list[str]]]:
    """The point of each kill and what it broke: every so many of each kind of call, from the `first` on."""

    def begin() -> Running:
        world.reset(operation.start)
        return operation.begin(zygote)

    for point, _ in inject_everywhere(begin, world.log, _KILLS, every=every, first=first):
        yield f"{operation.name}: {point}", check_aftermath(world, zygote, operation)


def kill_repair(
    world: World, zygote: Zygote, *, every: int = 1, first: int = 1
) -> Iterator[tuple[str, list[str]]]:
    """The same for the operation that starts with a broken store: no index, and a blob with a wrong bit."""
    operation = Operation("repair", ("repair",), "used", frozenset({"docker.io/team/old:v1"}))

    def begin() -> Running:
        world.reset(operation.start)
        _damage(world)
        return operation.begin(zygote)

    for point, _ in inject_everywhere(begin, world.log, _KILLS, every=every, first=first):
        again = operation.begin(zygote).wait()
        problems = [] if again.code == 0 else [f"a repetition fails: {again}"]
        if set(invariants.tags(world.home)) != operation.end:
            problems.append(f"the names are {invariants.tags(world.home)}")
        yield f"repair: {point}", [*problems, *invariants.check_store(world.home)]


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
    again = operation.begin(zygote).wait()
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
    options = asked(__doc__, arguments)
    with tempfile.TemporaryDirectory() as folder, open_world(Path(folder)) as (world, zygote, _registry):
        runs = {
            name: kill_everywhere(world, zygote, operation, every=options.every)
            for name, operation in world.operations().items()
        }
        runs["repair"] = kill_repair(world, zygote, every=options.every)
        return tell(runs, options.operation, "kill points")


if __name__ == "__main__":
    sys.exit(main())

"""kill -9, or another signal, at every system call of an operation, one run each.

python -m tests.crash.kill_points [--operation pull] [--every 5] [--signal INT]
"""

from __future__ import annotations

import hashlib
import re
import signal as signals
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.crash import invariants
from tests.crash.reporting import parser_of, tell
from tests.crash.strace import CALLS, inject_everywhere
from tests.crash.world import Operation, World, open_world
from tests.crash.zygote import Ended, Running, Zygote

# 128 + SIGINT.
_INTERRUPTED = 130
# A file of mrpack in a traceback, which users never see; these three are read, as those of Python are, before
# `main` can do anything about it.
_OURS = re.compile(r'/(?:mrpack(?!/(?:__init__|__main__|version)\.py)|mrpack_runtime)/\S+\.py", line')


def kill_everywhere(
    world: World,
    zygote: Zygote,
    operation: Operation,
    *,
    every: int = 1,
    first: int = 1,
    signal: str = "KILL",
) -> Iterator[tuple[str, list[str]]]:
    """The point of each kill and what it broke: every so many of each kind of call, from the `first` on."""

    def begin() -> Running:
        world.reset(operation.start)
        return operation.begin(zygote)

    kills = [(call, f"signal={signal}") for call in CALLS]
    for point, traced in inject_everywhere(begin, world.log, kills, every=every, first=first):
        problems = list(check_end(traced.ended, signal))
        yield f"{operation.name}: {point}", problems + check_aftermath(world, zygote, operation)


def check_end(ended: Ended, signal: str, *, is_forked: bool = True) -> Iterator[str]:
    """Ctrl-C gives 130 and its line last, but for the moments when Python starts and ends: then the shell
    speaks, as for other signals. Or the run was done already. A process that is not forked from one that has
    everything imported may be too young to say anything.
    """
    expected = {0, -getattr(signals, f"SIG{signal}")} | ({_INTERRUPTED} if signal == "INT" else set())
    is_ours = _OURS.search(ended.err) is not None
    if is_ours or (ended.code not in expected and "Traceback" not in ended.err):
        yield f"ended with {ended.code}: {ended.err[-2000:]}"
    elif ended.code == _INTERRUPTED and not (
        ended.err.endswith("mrpack: interrupted\n") or (not is_forked and not ended.err)
    ):
        yield f"says {ended.err[-2000:]}"


def kill_repair(
    world: World, zygote: Zygote, *, every: int = 1, first: int = 1
) -> Iterator[tuple[str, list[str]]]:
    """The same for the operation that starts with a broken store: no index, and a blob with a wrong bit."""
    operation = Operation("repair", ("repair",), "used", frozenset({"docker.io/team/old:v1"}))

    def begin() -> Running:
        world.reset(operation.start)
        _damage(world)
        return operation.begin(zygote)

    kills = [(call, "signal=KILL") for call in CALLS]
    for point, _ in inject_everywhere(begin, world.log, kills, every=every, first=first):
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
    """The store is whole at once; the operation can be repeated; gc finds all that was left lying about.

    The user's own folder holds nothing that is half done, and after the repetition nothing hidden.
    """
    before = set(invariants.tags(world.home))
    problems = [*invariants.check_store(world.home), *_half_done(world)]
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
    left = (*invariants.leftovers(world.home), *world.home.glob("bundles/.*"))
    problems += [f"gc leaves {path.name}" for path in left]
    problems += [f"{path} is left in the user's folder" for path in sorted(world.out.glob("**/.*.part"))]
    problems += [f"{path} is left in the user's folder" for path in sorted(world.out.glob("m/.*"))]
    return [*problems, *_half_done(world), *invariants.check_store(world.home)]


def _half_done(world: World) -> Iterator[str]:
    """Files under their names, an archive, a layout."""
    for file in (*world.out.glob("m/*.gguf"), *world.home.glob("bundles/sha256-*/*.gguf")):
        if file.read_bytes() != world.model(file.stem).read_bytes():
            yield f"{file} is half done"
    archive = world.out / "m.tar"
    if archive.exists():
        with tarfile.open(archive) as opened:
            if "index.json" not in opened.getnames():
                yield f"{archive} is half done"
    if (world.out / "layout").exists():
        yield from invariants.check_layout(world.out / "layout")


def _start_tags(world: World, operation: Operation) -> set[str]:
    return set(invariants.tags(world.folder / operation.start))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--signal", default="KILL", choices=("KILL", "INT", "TERM", "HUP"))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, open_world(Path(folder)) as (world, zygote, _registry):
        runs = {
            name: kill_everywhere(world, zygote, operation, every=options.every, signal=options.signal)
            for name, operation in world.operations().items()
        }
        if options.signal == "KILL":
            runs["repair"] = kill_repair(world, zygote, every=options.every)
        return tell(runs, options.operation, "kill points")


if __name__ == "__main__":
    sys.exit(main())

"""Many processes do random operations on one store at once, with locks that work and with locks that lie.

python -m tests.crash.crowd --processes 8 --steps 200 [--no-flock]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.crash import invariants
from tests.crash.world import SMALL, World, environment_of, open_world, write_model
from tests.crash.zygote import Running, Zygote

_WORK = "tests.crash.random_work:work"


def crowd(folder: Path, *, processes: int, steps: int, no_flock: bool = False, seed: int = 0) -> list[str]:
    """What went wrong: lost or wrong names, wrong bytes, operations that failed without a reason."""
    with open_world(folder) as (world, zygote, _registry), ExitStack() as stack:
        world.reset("empty")
        for number in range(4, 7):
            write_model(world.model(f"more{number}"), number, SMALL * number)
        running: list[tuple[Running, Path]] = []
        for number in range(processes):
            own = folder / f"worker{number}"
            worker = stack.enter_context(Zygote(own, environment_of(world), no_flock=no_flock))
            report = own / "report.json"
            begun = worker.begin(
                seed * 100 + number, str(folder), world.remote, steps, str(report), function=_WORK
            )
            running.append((begun, report))
        for begun, _ in running:
            begun.go()
        problems = []
        for begun, report in running:
            ended = begun.wait()
            if ended.code != 0:
                problems.append(f"a worker ended with {ended.code}: {ended.err[-2000:]}")
                continue
            problems += _check_report(world, report, ended.err)
        problems += invariants.check_store(world.home)
        problems += _check_end(world, zygote)
        return problems


def _check_report(world: World, report: Path, errors: str) -> Iterator[str]:
    told = json.loads(report.read_text())
    yield from told["failed"]
    if "a bug" in errors:
        yield errors[-2000:]
    tags = invariants.tags(world.home)
    for name, file in told["tags"].items():
        if name not in tags:
            yield f"{name} is lost"
        elif not _holds(world, tags[name], Path(file)):
            yield f"{name} is not {file}"
    own = f"{next(iter(told['tags'])).rpartition(':')[0]}:" if told["tags"] else "?"
    yield from (f"{name} came back" for name in tags if name.startswith(own) and name not in told["tags"])


def _holds(world: World, manifest: str, file: Path) -> bool:
    document = json.loads((world.home / "store" / "blobs" / manifest.replace(":", "/")).read_bytes())
    digest = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    return digest in {layer["digest"] for layer in document["layers"]}


def _check_end(world: World, zygote: Zygote) -> Iterator[str]:
    for arguments in (["verify"], ["gc"]):
        ended = zygote.mrpack(*arguments)
        if ended.code != 0:
            yield f"{arguments[0]} fails: {ended}"
    yield from (f"gc leaves {path.name}" for path in invariants.leftovers(world.home))
    yield from invariants.check_store(world.home)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-flock", action="store_true", help="every lock is granted to everybody")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        problems = crowd(
            Path(folder),
            processes=options.processes,
            steps=options.steps,
            no_flock=options.no_flock,
            seed=options.seed,
        )
    for problem in problems:
        print(problem)
    print(f"{options.processes} processes x {options.steps} operations, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

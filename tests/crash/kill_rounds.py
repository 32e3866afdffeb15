"""kill -9 at a random moment, again and again, of two processes that work on one store.

python -m tests.crash.kill_rounds --rounds 500
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.crash import invariants
from tests.crash.world import SMALL, World, environment_of, open_world, write_model
from tests.crash.zygote import Zygote

# The kill comes at a uniform moment of this time; one operation takes a tenth of it.
_LIFE_S = 0.5
_WORK = "tests.crash.random_work:work_until_killed"
# A kill, seen by the one who waits.
_KILLED = -9


def kill_again_and_again(
    folder: Path, rounds: int, *, seed: int = 0, no_flock: bool = False
) -> Iterator[list[str]]:
    """What each round broke. The store goes on from round to round, with all that the dead left in it."""
    chance = random.Random(seed)
    with open_world(folder) as (world, zygote, _registry), ExitStack() as stack:
        world.reset("used")
        for number in range(4, 7):
            write_model(world.model(f"more{number}"), number, SMALL * number)
        workers = [
            stack.enter_context(Zygote(folder / f"worker{number}", environment_of(world), no_flock=no_flock))
            for number in range(2)
        ]
        for round_ in range(rounds):
            yield [*_round(world, workers, chance, round_), *_use(world, zygote)]


def _round(world: World, workers: Sequence[Zygote], chance: random.Random, round_: int) -> Iterator[str]:
    running = [
        worker.begin(100 * round_ + number, str(world.folder), world.remote, function=_WORK).go()
        for number, worker in enumerate(workers)
    ]
    # Not to wait for anything: the moment of the kill is what is drawn by lot.
    threading.Event().wait(chance.uniform(0, _LIFE_S))
    for process in running:
        ended = process.kill()
        if ended.code != _KILLED:
            yield f"a worker ended by itself: {ended}"
    yield from invariants.check_store(world.home)


def _use(world: World, zygote: Zygote) -> Iterator[str]:
    """A new process works without any repair, and finds every model whole."""
    for arguments in (["verify"], ["package", str(world.model("old")), "team/old:v1", "--quiet"], ["list"]):
        ended = zygote.mrpack(*arguments)
        if ended.code != 0:
            yield f"{arguments[0]} fails: {ended}"
    yield from invariants.check_store(world.home)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-flock", action="store_true", help="every lock is granted to everybody")
    options = parser.parse_args(arguments)
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        rounds = kill_again_and_again(
            Path(folder), options.rounds, seed=options.seed, no_flock=options.no_flock
        )
        for number, problems in enumerate(rounds, 1):
            failures += bool(problems)
            for problem in problems:
                print(f"round {number}: {problem}", flush=True)
            if number % 50 == 0:
                print(f"{number} rounds, {failures} with problems", flush=True)
    print(f"{options.rounds} rounds, {failures} with problems")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""Signals at random moments of commands that run as users run them: with threads, children, and a reader.

    python -m tests.crash.interruptions [--operation pull] [--rounds 5]

A reader that goes away is one more: of the result before it comes, of the messages at a random moment.
"""

from __future__ import annotations

import os
import random
import signal as signals
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.crash.kill_points import check_aftermath, check_end
from tests.crash.reporting import parser_of, tell
from tests.crash.world import Operation, World, environment_of, open_world, write_model
from tests.crash.zygote import Ended, Zygote
from tests.fakes.llama_quantize import FakeLlamaQuantize
from tests.fakes.tiny_gguf import write_markov
from tests.program import PROGRAM
from tests.waiting import until

SIGNALS = ("INT", "TERM", "HUP", "KILL")
# Takes a while to hash, write and send.
_LARGE = 32 * 1024 * 1024
_LONG = "docker.io/team/long:v1"
# Nothing is waited for: the moment is what is drawn by lot.
_NEVER = threading.Event()


@dataclass(frozen=True)
class Stage:
    """`zygote` looks at what the commands leave; these are processes of their own, with `environment`."""

    world: World
    zygote: Zygote
    environment: dict[str, str]

    @property
    def remote(self) -> str:
        return f"{self.world.registry}/team/long:v1"

    def begin(self, operation: Operation, out: int, messages: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*PROGRAM, *operation.arguments],
            env=self.environment,
            cwd=self.world.folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=messages,
        )

    def operations(self) -> dict[str, Operation]:
        world, out = self.world, self.world.out
        new, old, tiny = (f"docker.io/team/{name}" for name in ("new:v1", "old:v1", "tiny:74K-Q8_0"))
        file, built = str(world.model("long")), f"{world.registry}/team/built:v1"
        none, long = frozenset[str](), frozenset({_LONG})
        quantized = ("package", str(world.folder / "tiny.gguf"), "team/tiny", "--quantize", "Q8_0")
        found = (
            Operation("package", ("package", file, new), "empty", frozenset({new})),
            Operation("build", ("package", file, built, "--push"), "empty", none),
            Operation("push", ("push", "long", f"{world.registry}/team/pushed:v1"), "long", long),
            Operation("pull", ("pull", self.remote), "empty", frozenset({self.remote})),
            Operation("copy", ("copy", self.remote, f"oci:{out}/layout:v1"), "empty", none),
            Operation("archive", ("copy", self.remote, f"oci-archive:{out}/m.tar"), "empty", none),
            Operation("export", ("export", "long", f"{out}/m.tar"), "long", long),
            Operation("import", ("import", str(world.folder / "long.tar")), "empty", long),
            Operation("extract", ("pull", self.remote, "--output", f"{out}/m"), "empty", none),
            Operation("verify", ("verify",), "long", long),
            Operation("quantize", quantized, "used", frozenset({old, tiny})),
        )
        return {operation.name: operation for operation in found}


@contextmanager
def open_stage(folder: Path) -> Iterator[Stage]:
    with open_world(folder) as (world, furnishing, _registry):
        fake = FakeLlamaQuantize.install(folder / "bin")
        write_markov(folder).rename(folder / "tiny.gguf")
        write_model(world.model("long"), 7, _LARGE)
        (folder / "tmp").mkdir()
        environment = environment_of(world)
        environment |= {"PATH": f"{fake.folder}:{environment['PATH']}", "TMPDIR": str(folder / "tmp")}
        world.reset("empty")
        for arguments in (
            ("package", str(world.model("long")), _LONG),
            ("push", _LONG, f"{world.registry}/team/long:v1"),
            ("export", _LONG, str(folder / "long.tar")),
        ):
            assert furnishing.mrpack(*arguments).code == 0
        world.home.rename(folder / "long")
        with Zygote(folder / "looking", environment) as zygote:
            yield Stage(world, zygote, environment)


def interrupt(
    stage: Stage, operation: Operation, rounds: int, chance: random.Random
) -> Iterator[tuple[str, list[str]]]:
    """Each signal at so many moments of the time that the command takes; then as many readers that leave."""
    began = time.monotonic()
    code, err = _run(stage, operation, None, 0)
    lasts_s = time.monotonic() - began
    yield f"{operation.name}: undisturbed", [] if code == 0 else [f"ended with {code}: {err}"]
    for name in SIGNALS:
        for _ in range(rounds):
            after_s = chance.uniform(0, lasts_s)
            code, err = _run(stage, operation, getattr(signals, f"SIG{name}"), after_s)
            ended = Ended(code, "", err, 0)
            problems = [*check_end(ended, name, is_forked=False), *_check(stage, operation)]
            yield f"{operation.name}: SIG{name} after {after_s:.3f} of {lasts_s:.3f} s", problems
    for _ in range(rounds):
        after_s = chance.uniform(0, lasts_s)
        code = _run_unread(stage, operation, after_s)
        problems = [*([f"ended with {code}"] if code else []), *_check(stage, operation)]
        yield f"{operation.name}: nobody reads after {after_s:.3f} of {lasts_s:.3f} s", problems


def _run(
    stage: Stage, operation: Operation, signal: signals.Signals | None, after_s: float
) -> tuple[int, str]:
    stage.world.reset(operation.start)
    said = stage.world.folder / "said"
    with said.open("wb") as messages:
        process = stage.begin(operation, subprocess.DEVNULL, messages.fileno())
    if signal is not None:
        _NEVER.wait(after_s)
        process.send_signal(signal)
    process.wait(timeout=120)
    return process.returncode, said.read_text()


def _run_unread(stage: Stage, operation: Operation, after_s: float) -> int:
    stage.world.reset(operation.start)
    result, written = os.pipe()
    os.close(result)
    messages, said = os.pipe()
    process = stage.begin(operation, written, said)
    os.close(written)
    os.close(said)
    # A few lines; they fit into the pipe.
    _NEVER.wait(after_s)
    os.close(messages)
    return process.wait(timeout=120)


def _check(stage: Stage, operation: Operation) -> Iterator[str]:
    """Nobody goes on, nothing is broken, and a repetition finds or removes all that was left."""
    mine = str(stage.world.home).encode()
    until(lambda: not _alive(mine), "the end of all children")
    yield from check_aftermath(stage.world, stage.zygote, operation)
    yield from (f"{path} is left" for path in sorted((stage.world.folder / "tmp").iterdir()))


def _alive(mine: bytes) -> list[str]:
    """Processes, other than ours and the zygotes, that know the home."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if mine in environment + line and b"tests.crash" not in line:
            found.append(line.decode(errors="replace"))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="moments for each signal")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder, open_stage(Path(folder)) as stage:
        runs = {
            name: interrupt(stage, operation, options.rounds, chance)
            for name, operation in stage.operations().items()
        }
        return tell(runs, options.operation, "interruptions")


if __name__ == "__main__":
    sys.exit(main())

"""A process that packages, pulls, pushes, tags, removes and collects at random, until killed or done."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

# Nothing to remove, push or tag; or another process is writing.
_FINE = {0, 3, 8}


class Worker:
    """`names` are this worker's own models; `shared` ones belong to everybody."""

    def __init__(self, seed: int, folder: Path, remote: str, run: Callable[[list[str]], int]) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        self._files = sorted(folder.glob("*.gguf"))
        self._remote = remote
        self._run = run
        self._own = f"team/worker{seed % 100}"
        self.tags: dict[str, str] = {}
        """What the store must hold of this worker's own names: reference and model file."""

    def step(self) -> tuple[list[str], int]:
        """One operation and its exit code."""
        choice = self._random.choices(
            (
                self._package,
                self._pull,
                self._push,
                self._remove,
                self._tag,
                self._collect,
                self._set,
                self._import,
                self._copy,
                self._export,
            ),
            (4, 3, 1, 3, 3, 1, 2, 2, 2, 1),
        )[0]
        arguments, expect = choice()
        code = self._run([*arguments, "--quiet", "--progress", "none"])
        if code == 0 and expect is not None:
            expect()
        return arguments, code

    def _name(self) -> str:
        return f"{self._own}:{self._random.randrange(4)}"

    def _shared(self) -> str:
        return f"team/shared:{self._random.randrange(3)}"

    def _package(self):
        file = self._random.choice(self._files)
        name = self._random.choice((self._name(), self._name(), self._shared()))
        return ["package", str(file), name], self._expect(name, str(file))

    def _pull(self):
        return ["pull", self._remote], None

    def _push(self):
        name = self._random.choice((self._name(), self._shared()))
        return ["push", name, f"{self._remote.partition('/')[0]}/team/pushed:{os.getpid() % 4}"], None

    def _remove(self):
        name = self._random.choice((self._name(), self._shared(), self._remote))
        keep = self._random.choice(([], ["--keep-blobs"]))
        return ["rm", name, *keep], self._expect(name, None)

    def _tag(self):
        old, new = self._name(), self._name()
        return ["tag", old, new], self._expect(new, self.tags.get(f"docker.io/{old}"))

    def _collect(self):
        return ["gc"], None

    def _set(self):
        """Other settings over the same weights."""
        old, new = self._name(), self._name()
        setting = f"sampling.seed={self._random.randrange(100)}"
        return ["package", "--from", old, new, "--set", setting], self._expect(
            new, self.tags.get(f"docker.io/{old}")
        )

    def _import(self):
        name = self._random.choice((self._name(), self._shared()))
        return ["import", str(self._folder / "gone.tar"), name], self._expect(
            name, str(self._folder / "gone.gguf")
        )

    def _copy(self):
        """From a layout, past the commands of the store."""
        name = self._name()
        store = f"oci:{os.environ['MRPACK_HOME']}/store:docker.io/{name}"
        return ["copy", f"oci:{self._folder}/layout:v1", store], self._expect(
            name, str(self._folder / "gone.gguf")
        )

    def _export(self):
        return ["export", self._name(), str(self._folder / f"out{os.getpid() % 4}.tar")], None

    def _expect(self, name: str, file: str | None):
        if not name.startswith(f"{self._own}:"):
            return None

        def expect() -> None:
            self.tags.pop(f"docker.io/{name}", None)
            if file is not None:
                self.tags[f"docker.io/{name}"] = file

        return expect


def work_until_killed(seed: int, folder: str, remote: str) -> int:
    """For a zygote. Ends only on an exit code that nothing explains."""
    from mrpack.cli.main import _run

    worker = Worker(seed, Path(folder), remote, _run)
    while True:
        arguments, code = worker.step()
        if code not in _FINE:
            print(f"{arguments} ended with {code}", file=sys.stderr)
            return 70


def work(seed: int, folder: str, remote: str, steps: int, report: str) -> int:
    """For a zygote. Writes what became of it to the file `report`."""
    from mrpack.cli.main import _run

    worker = Worker(seed, Path(folder), remote, _run)
    failed = []
    for _ in range(steps):
        arguments, code = worker.step()
        if code not in _FINE:
            failed.append(f"{arguments} ended with {code}")
    Path(report).write_text(json.dumps({"tags": worker.tags, "failed": failed}))
    return 0

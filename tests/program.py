"""Runs `mrpack` as a user does: a process, an empty home, exit code, standard output and error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = [sys.executable, "-m", "mrpack"]
# Nobody's: a gateway of whoever runs the tests is not talked to.
NO_GATEWAY = "9"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def last_line(self) -> str:
        return self.err.rstrip().rpartition("\n")[2]


class Mrpack:
    """`mrpack("list", "--json")`; `fails=7` expects that exit code, one line on stderr and no traceback."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.environment = dict(environment)
        self._folder = folder

    def __call__(
        self, *arguments: str | Path, fails: int = 0, stdin: str = "", under: Sequence[str] = (), **more: str
    ) -> Done:
        """`under` is a program that runs it, `more` further environment."""
        process = subprocess.run(
            [*under, *PROGRAM, *map(str, arguments)],
            env={**self.environment, **more},
            cwd=self._folder,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        done = Done(process.returncode, process.stdout, process.stderr)
        assert done.code == fails, done
        assert "Traceback" not in done.err, done.err
        if fails:
            assert done.last_line.startswith("mrpack: "), done
        return done

    def start(self, *arguments: str | Path, **more: str) -> subprocess.Popen[str]:
        """In the background; whoever calls ends it."""
        return subprocess.Popen(
            [*PROGRAM, *map(str, arguments)],
            env={**self.environment, **more},
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def empty_environment(home: Path) -> dict[str, str]:
    """What a new user has: a home and a path. No gateway is where the commands look for it."""
    kept = {
        key: value for key, value in os.environ.items() if key in {"PATH", "LANG", "TMPDIR", "VIRTUAL_ENV"}
    }
    return {**kept, "HOME": str(home), "NO_COLOR": "1", "MRPACK_PORT": NO_GATEWAY}

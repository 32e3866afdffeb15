"""Runs `mrpack` as a user does: a process, an empty home, exit code, standard output and error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.tiny_gguf import write_markov

PROGRAM = [sys.executable, "-m", "mrpack"]


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


Mrpack = Callable[..., Done]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG", "TMPDIR", "VIRTUAL_ENV"}}
    return {**kept, "HOME": str(home), "NO_COLOR": "1"}


@pytest.fixture
def mrpack(environment: dict[str, str], tmp_path: Path) -> Mrpack:
    """`mrpack("list", "--json")`; `fails=7` expects that exit code, one line on stderr and no traceback."""

    def run(*arguments: str | Path, fails: int = 0, stdin: str = "", **more: str) -> Done:
        process = subprocess.run(
            [*PROGRAM, *map(str, arguments)],
            env={**environment, **more},
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        done = Done(process.returncode, process.stdout, process.stderr)
        assert done.code == fails, done
        assert "Traceback" not in done.err, done.err
        if fails:
            assert done.last_line.startswith("mrpack: "), done
        return done

    return run


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_markov(tmp_path_factory.mktemp("tiny"))

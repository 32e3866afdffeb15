"""A bounded run of every fuzzing program, from the kept corpora."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.demands import demand
from tests.fuzz.targets import TARGETS

# A few seconds a target; `python -m tests.fuzz.fuzz TARGET` goes on for as long as one likes.
_RUNS = 3_000
# A new connection each time.
_FEWER = {"http-answer": 600, "tar": 1_000, "tar-gzip": 1_000, "tar-zstd": 1_000}


@pytest.mark.parametrize("name", TARGETS)
def test_fuzzing_finds_nothing(name: str, tmp_path: Path) -> None:
    demand("" if find_spec("atheris") else "atheris is not installed")
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fuzz.fuzz",
            name,
            f"--found={tmp_path / 'found'}",
            f"-runs={_FEWER.get(name, _RUNS)}",
            "-seed=1",
            "-max_len=4096",
            # Of an input. By the clock: another may have the processor.
            "-timeout=120",
            f"-artifact_prefix={tmp_path}/",
        ],
        # The same inputs each time: their ways through sets, too, count as found.
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-4_000:]

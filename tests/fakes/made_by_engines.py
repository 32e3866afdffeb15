"""Runs the programs that make tiny models with an engine's own libraries, once for all workers of a run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final
from uuid import uuid4

_OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def models_made_by(python: Path, program: str, shared: Path) -> Path:
    """The folder that `tests/fakes/PROGRAM.py` fills when it is run by `python`, kept within `shared`.

    Workers may ask at the same time: each makes its own, and the first to finish names the one that is used.
    """
    made = shared / program
    if made.exists():
        return made
    work = shared / f"{program}.{uuid4().hex}"
    environment = {**os.environ, **_OFFLINE, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [str(python), str(Path(__file__).with_name(f"{program}.py")), str(work)]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    try:
        work.rename(made)
    except OSError:
        if not made.exists():
            raise
    return made

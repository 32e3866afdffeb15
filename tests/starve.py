"""Runs a command on a machine that has no time for it: finds the tests that pass by luck.

    python -m tests.starve pytest -n 2 tests/unit

Busy processes take every processor, and threads of the command, chosen anew several times a second, are let
wait behind them (SCHED_IDLE). What two threads or processes do in one order on an idle machine they do in
the other order here. Linux only; exits as the command did.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.processes import children_of

# Longer than a moment, much shorter than the minute that tests wait (tests/waiting.py).
_WAITS_S: Final = (0.02, 0.1, 0.5, 2.0)
_SHARE: Final = 0.3
# Behind everything but what is starved: the rest goes on at its usual pace.
_BUSY: Final = (sys.executable, "-I", "-S", "-c", "import os; os.nice(19)\nwhile True: pass")


def _threads(pid: int) -> list[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    return []


def _schedule(threads: list[int], policy: int) -> None:
    for thread in threads:
        with suppress(ProcessLookupError):
            os.sched_setscheduler(thread, policy, os.sched_param(0))


def starve(command: subprocess.Popen[bytes]) -> int:
    """Its exit status, when it has ended."""
    while command.poll() is None:
        processes = [command.pid, *children_of(command.pid)]
        chosen = [thread for pid in processes for thread in _threads(pid) if random.random() < _SHARE]
        _schedule(chosen, os.SCHED_IDLE)
        time.sleep(random.choice(_WAITS_S))
        _schedule(chosen, os.SCHED_OTHER)
    return command.wait()


def main(argv: list[str]) -> int:
    busy = [subprocess.Popen(_BUSY) for _ in os.sched_getaffinity(0)]
    try:
        return starve(subprocess.Popen(argv))
    finally:
        for process in busy:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

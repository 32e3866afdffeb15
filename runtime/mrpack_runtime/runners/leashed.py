"""Runs a program that must not outlive us, and hands on its lines."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from mrpack.errors import from_os_error

_LEASH: Final = Path(__file__).parents[1] / "processes" / "leash.py"
# Of one log; a build writes about a megabyte.
_LOG_LIMIT: Final = 64 * 1024 * 1024
_PAUSE_S: Final = 0.1
# The leash waits 5 s for what hangs in the kernel.
_KILL_GRACE_S: Final = 8.0


def run_leashed(
    argv: tuple[str, ...],
    *,
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    on_line: Callable[[str], None],
) -> int:
    """Exit status, negative for a signal. All output is appended to `log`; `on_line` gets it line by line.

    Whatever ends us, also `kill -9`, ends the program and all that it started.

    Raises:
        HostRefused: it cannot be started at all.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        log.touch(mode=0o600)
        position = log.stat().st_size
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LEASH), str(log), str(_LOG_LIMIT), *argv],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is for us
        )
    except OSError as error:
        raise from_os_error(error, f"start {argv[0]}") from error
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            lines.seek(position)
            pending = ""
            while True:
                ended = process.poll() is not None  # asked first: what it wrote before is read below
                pending += lines.read()
                *whole, pending = pending.split("\n")
                for line in whole:
                    on_line(line)
                if ended:
                    return process.returncode
                time.sleep(_PAUSE_S)
    finally:
        assert process.stdin is not None  # noqa: S101  # asked for above
        with suppress(OSError):
            process.stdin.close()  # the leash ends all
        with suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_GRACE_S)

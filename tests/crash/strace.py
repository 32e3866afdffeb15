"""strace on a process of a zygote: stop, kill or fail its Nth system call, or write all of them down."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.crash.zygote import Ended, Running

PROGRAM = shutil.which("strace")
# What changes a store, or opens it.
CALLS = (
    "openat",
    "write",
    "pwrite64",
    "writev",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "chmod",
    "fchmod",
    "flock",
    "ftruncate",
    "ioctl",
    "copy_file_range",
    "splice",
    "utimensat",
)


@dataclass(frozen=True)
class Traced:
    """`log` in strace's words."""

    ended: Ended
    log: str

    @property
    def was_killed(self) -> bool:
        return self.ended.code == -9

    @property
    def injected(self) -> str:
        """The line of the call that was made to fail; empty when none was."""
        return next((line for line in self.log.splitlines() if "(INJECTED)" in line), "")

    @property
    def was_signalled(self) -> bool:
        return any(f"--- SIG{name} {{" in self.log for name in ("INT", "TERM", "HUP"))


class Tracer:
    """Attached to a process that has not begun; ends with it."""

    def __init__(self, running: Running, log: Path, *options: str) -> None:
        assert PROGRAM is not None
        self._log = log
        self._running = running
        self._process = subprocess.Popen(
            [PROGRAM, "-f", "-y", "-o", str(log), "-p", str(running.pid), *options],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert "attached" in line, line

    def go_until_stopped(self) -> bool:
        """Let it begin; true when a signal stopped it, false when it ended."""
        self._running.go()
        while "--- stopped by SIGSTOP ---" not in self._log.read_text():
            if self._process.poll() is not None:
                return False
            time.sleep(0.001)
        return True

    def wait(self) -> Traced:
        ended = self._running.wait()
        self._process.communicate(timeout=60)
        return Traced(ended, self._log.read_text())


def inject_everywhere(
    begin: Callable[[], Running], log: Path, failures: Iterable[tuple[str, str]], *, every: int, first: int
) -> Iterator[tuple[str, Traced]]:
    """Of each pair of a call and what befalls it (in strace's words: `signal=KILL`, `error=EIO`), one run for
    every so many of these calls, from the `first` on, until there are no more. Gives the point and the run.

    `begin` makes the start of a run, and what it starts with.
    """
    wanted = list(failures)
    present = calls_of(begin(), log, {call for call, _ in wanted})
    for call, what in wanted:
        for number in itertools.count(first, every) if call in present else ():
            options = ("-e", f"trace={call}", "-e", f"inject={call}:{what}:when={number}")
            traced = Tracer(begin(), log, *options).wait()
            if not (traced.was_killed or traced.was_signalled or traced.injected):
                break
            yield f"{call} {number} {what}", traced


def calls_of(running: Running, log: Path, calls: Collection[str] = CALLS) -> frozenset[str]:
    """Which of `calls` it makes at all."""
    traced = Tracer(running, log, "-e", f"trace={','.join(calls)}").wait()
    return frozenset(call for call in calls if f" {call}(" in traced.log)


def record(running: Running, log: Path, *options: str) -> Traced:
    """Everything that changes files, with all bytes that are written."""
    calls = ",".join((*CALLS, "read", "readv", "pread64", "lseek", "close", "dup2", "dup3", "fcntl"))
    return Tracer(running, log, "-xx", "-s", "16777216", "-e", f"trace={calls}", *options).wait()


def stop_at(running: Running, log: Path, call: str, number: int) -> Tracer | None:
    """Started, and stopped (SIGCONT lets it go on) at its `number`th `call`; None: it has ended before."""
    tracer = Tracer(running, log, "-e", f"trace={call}", "-e", f"inject={call}:signal=STOP:when={number}")
    if tracer.go_until_stopped():
        return tracer
    tracer.wait()
    return None


def missing() -> str:
    """Why system calls cannot be traced here; empty when they can."""
    if PROGRAM is None:
        return "strace is not installed"
    done = subprocess.run([PROGRAM, "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"strace does not work here: {done.stderr.strip()}"

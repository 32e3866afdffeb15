"""strace on a process of a zygote: stop, kill or fail its Nth system call, or write all of them down."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
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


def inject(running: Running, log: Path, call: str, number: int, what: str) -> Traced:
    """`what` (in strace's words: `signal=KILL`, `error=EIO`) befalls the `number`th `call`."""
    return Tracer(running, log, "-e", f"trace={call}", "-e", f"inject={call}:{what}:when={number}").wait()


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

"""Starts a function many times, each time in a process of its own that has mrpack imported already.

Starting Python takes half a second; a fork takes ten milliseconds. The fork waits for a word before it
begins, so that a tracer can attach first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module  # noqa: TID251  # programs are named by what asks for them
from pathlib import Path
from typing import Any, Self

from tests.processes import is_alive
from tests.waiting import until

ROOT = Path(__file__).parents[2]
# unistd.h of each architecture.
_FLOCK = {"x86_64": "73", "aarch64": "32"}
MRPACK = "mrpack.cli.main:_run"
# What the commands import when they are called: not to be opened again in every fork.
MODULES = (
    "mrpack.cli.care",
    "mrpack.cli.local",
    "mrpack.cli.main",
    "mrpack.cli.package",
    "mrpack.cli.transfer",
    "mrpack.registry",
    "mrpack.registry.settings",
    "mrpack.verbs.local",
    "mrpack.verbs.package",
    "mrpack.verbs.transfer",
    "encodings.idna",
)


@dataclass(frozen=True)
class Ended:
    """`code` is negative for a signal; `peak` is the largest resident memory, in bytes."""

    code: int
    out: str
    err: str
    peak: int


class Running:
    """A forked process that waits for `go`."""

    def __init__(self, zygote: Zygote, pid: int, output: Path) -> None:
        self.pid = pid
        self._zygote = zygote
        self._output = output
        self._went = False

    def go(self) -> Self:
        self._zygote.send("go")
        self._went = True
        return self

    def settle(self) -> None:
        """Until it has ended, or waits for a lock that somebody has."""
        until(lambda: not is_alive(self.pid) or waits_for_lock(self.pid), "a process to end or to wait")

    def kill(self) -> Ended:
        with suppress(ProcessLookupError):  # it has ended by itself, which its code tells
            os.kill(self.pid, 9)
        return self.wait()

    def wait(self) -> Ended:
        if not self._went:
            self.go()
        code, peak_kib = map(int, self._zygote.receive().split())
        self._zygote.child = None
        out, err = (self._output.with_suffix(kind).read_text() for kind in (".out", ".err"))
        return Ended(code, out, err, peak_kib * 1024)


class Zygote:
    """A context manager; one child at a time.

    `one_thread`: thread pools do their work in the calling thread, so that the Nth system call is the same in
    every run. `no_flock`: locks are granted to everybody. `no_sleep`: who waits a while goes on at once.
    `clock_shift_s`: seconds that the clock is ahead.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        one_thread: bool = False,
        no_flock: bool = False,
        no_sleep: bool = False,
        clock_shift_s: int = 0,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._output = folder / "output"
        self.child: Running | None = None
        """Begun, and not waited for."""
        flags = [
            *["--one-thread"] * one_thread,
            *["--no-flock"] * no_flock,
            *["--no-sleep"] * no_sleep,
            f"--clock-shift-s={clock_shift_s}",
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.zygote", *flags],
            cwd=ROOT,
            env={**environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.receive() == "ready"

    def begin(self, *arguments: Any, function: str = MRPACK, **environment: str) -> Running:
        """`function` is MODULE:NAME, called with `arguments`; what it returns is the exit code."""
        self._end_child()
        self.send(
            json.dumps(
                {
                    "function": function,
                    "arguments": [str(item) if isinstance(item, Path) else item for item in arguments],
                    "environment": environment,
                    "output": str(self._output),
                }
            )
        )
        self.child = Running(self, int(self.receive()), self._output)
        return self.child

    def mrpack(self, *arguments: str | Path, **environment: str) -> Ended:
        return self.begin([str(item) for item in arguments], **environment).go().wait()

    def send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def receive(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the zygote died"
        return line.rstrip("\n")

    def close(self) -> None:
        """At the end of its standard input it ends."""
        self._end_child()
        self._process.communicate(timeout=60)

    def _end_child(self) -> None:
        """Of somebody who failed before it had ended."""
        if self.child is not None:
            self.child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class _InThisThread:
    """A ThreadPoolExecutor of no threads."""

    def __init__(self, max_workers: int | None = None) -> None:
        pass

    def submit(self, function, *arguments):
        future: futures.Future[Any] = futures.Future()
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future

    def map(self, function, *iterables):
        return map(function, *iterables)

    def shutdown(self, **_how: bool) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--one-thread", action="store_true")
    parser.add_argument("--no-flock", action="store_true")
    parser.add_argument("--no-sleep", action="store_true")
    parser.add_argument("--clock-shift-s", type=int, default=0)
    options = parser.parse_args()
    if options.one_thread:
        futures.ThreadPoolExecutor = _InThisThread
    if options.no_flock:
        lie_about_locks()
    if options.no_sleep:
        time.sleep = lambda _seconds: None
    if options.clock_shift_s:
        shift_clock(options.clock_shift_s)
    for name in MODULES:
        import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _child(request, theirs)
        theirs.close()
        assert ours.recv(1), "the child died at once"
        print(pid, flush=True)
        assert sys.stdin.readline() == "go\n"
        with suppress(BrokenPipeError):  # it was killed before it began
            ours.send(b"g")
        _, status, used = os.wait4(pid, 0)
        ours.close()
        print(os.waitstatus_to_exitcode(status), used.ru_maxrss, flush=True)


def _child(request: dict[str, Any], starter: socket.socket) -> None:
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, suffix in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(request["output"] + suffix, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.environ.update(request["environment"])
        module, _, name = request["function"].partition(":")
        function = getattr(import_module(module), name)
        starter.send(b"r")
        if not starter.recv(1):
            os._exit(1)  # the zygote was killed
        starter.close()
        code = function(*request["arguments"]) or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                code = code or 1
        os._exit(code)


def lie_about_locks() -> None:
    """Locks that are granted to everybody, as some network filesystems do."""
    import fcntl

    fcntl.flock = lambda _handle, _kind: None


def shift_clock(by_s: int) -> None:
    """The time of day that Python tells; what the kernel writes on files stays as it is."""
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + by_s
    time.time_ns = lambda: now_ns() + by_s * 10**9


def waits_for_lock(pid: int) -> bool:
    """By the number of the system call it is in, which is flock's."""
    try:
        call = (Path("/proc") / str(pid) / "syscall").read_text().split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return call == _FLOCK.get(platform.machine())


if __name__ == "__main__":
    _main()

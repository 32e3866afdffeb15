"""The leash: a small process between the gateway and an engine, so that no engine outlives the gateway.

    python -I -S leash.py LOG LOG_LIMIT PROGRAM [ARGUMENT ...]

Standard input is a pipe from the gateway: `T` terminates the engine's process group, `K` kills it, and so
does the end of the pipe, which is how a gateway that was killed is noticed. Standard output gets one line,
the engine's process id. What the engine writes goes to LOG, which moves to `LOG.1` at LOG_LIMIT bytes. The
leash ends as the engine did: with its exit status or by its signal, after everything that the engine had
started. It imports nothing of ours: it has to start at once, in any folder.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Final, NoReturn

_LINUX: Final = sys.platform == "linux"
# linux/prctl.h
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
# What the shell says for a program that cannot be started.
_CANNOT_START: Final = 127
_FILES: Final = 65_536
_READ_SIZE: Final = 64 * 1024
# A process in uninterruptible sleep (a hung driver) cannot be killed: do not wait for it for ever.
_REAP_LIMIT_S: Final = 5.0


class Log:
    """A file with an upper limit: at most `limit` bytes here and as many in `.1`."""

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._open()

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        self._size = os.fstat(self._file).st_size

    def write(self, content: bytes) -> None:
        """A full disk loses lines, never the engine."""
        with suppress(OSError):
            self._size += os.write(self._file, content)
            if self._size >= self._limit:
                os.replace(self._path, f"{self._path}.1")  # noqa: PTH105  # pathlib doubles the start-up time
                os.close(self._file)
                self._open()


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _start(argv: list[str], output: int) -> int:
    """Process id of the engine, leader of its own process group."""
    leash = os.getpid()
    # We ignore SIGTERM, and so would the child at first: one that comes then has to wait, not to be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
        with suppress(OSError):  # the child does it too: whoever comes first
            os.setpgid(child, child)
        return child
    try:
        os.setpgid(0, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        if os.getppid() != leash:  # it died before the line above
            os._exit(_CANNOT_START)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold prompts
        _allow_files()
        _prefer_as_victim()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
        signal.set_wakeup_fd(-1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execv(argv[0], argv)  # noqa: S606  # there is no shell here, which is the point
    except OSError as error:
        os.write(output, f"cannot start {argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(_CANNOT_START)


def _allow_files() -> None:
    """Up to _FILES open files: each connection and each shard is one, and 1,024 is the usual limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _FILES if most == resource.RLIM_INFINITY else min(_FILES, most)
    with suppress(ValueError, OSError):  # macOS has a limit of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))


def _prefer_as_victim() -> None:
    """Tells the kernel to end the engine rather than the gateway when memory runs out."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write("500")


def _signal_group(leader: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        os.killpg(leader, number)


def _reap(engine: int) -> int | None:
    """Collects the dead; the wait status of the engine when it is one of them."""
    found = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == engine:
                found = status
            elif not pid:
                break
    return found


def _kill_descendants() -> None:
    """Ends what left the process group as well: as a subreaper we inherit all orphans below us."""
    deadline = time.monotonic() + _REAP_LIMIT_S
    listing = f"/proc/self/task/{os.getpid()}/children"
    while time.monotonic() < deadline:
        with suppress(OSError), open(listing, encoding="ascii") as file:  # noqa: PTH123
            for pid in file.read().split():
                os.kill(int(pid), signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.005)
        except ChildProcessError:
            return


def _watch(engine: int, output: int, log: Log) -> int:
    """Wait status of the engine; returns when it ended."""
    wakeup, wakeup_write = os.pipe()
    os.set_blocking(wakeup, False)
    os.set_blocking(wakeup_write, False)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    sources = [0, output, wakeup]
    while (status := _reap(engine)) is None:
        for source in select.select(sources, [], [])[0]:
            content = os.read(source, _READ_SIZE)
            if source == output:
                log.write(content)
            if source == 0:
                _signal_group(engine, signal.SIGTERM if content == b"T" else signal.SIGKILL)
            if not content:
                sources.remove(source)
    return status


def _drain(output: int, log: Log) -> None:
    os.set_blocking(output, False)
    with suppress(BlockingIOError):
        while content := os.read(output, _READ_SIZE):
            log.write(content)


def _end_like(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # SIGKILL has no handler to reset
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def main() -> NoReturn:
    log_path, log_limit, *argv = sys.argv[1:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # only the pipe decides
        signal.signal(number, signal.SIG_IGN)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    log = Log(log_path, int(log_limit))
    output, output_write = os.pipe()
    engine = _start(argv, output_write)
    os.close(output_write)
    with suppress(BrokenPipeError):  # the gateway is gone already: `_watch` sees it
        os.write(1, b"%d\n" % engine)
    os.close(1)
    status = _watch(engine, output, log)
    _signal_group(engine, signal.SIGKILL)
    _kill_descendants()
    _drain(output, log)
    _end_like(status)


if __name__ == "__main__":
    main()

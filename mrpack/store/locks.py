"""Locks between processes: flock, and where that is granted to everybody, files that say who is at work."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mrpack.errors import HostRefused

# What filesystems without locks answer. ENOLCK is not one of them: it may pass, and others may hold the lock.
_NO_LOCKS: Final = frozenset({errno.ENOSYS, errno.EOPNOTSUPP})
_UNWRITABLE: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_PAUSE_S: Final = (0.001, 0.01)
# A process of another machine cannot be seen; after this long its entry is the user's to judge.
_PATIENCE_S: Final = 300.0
_ENTRY: Final = re.compile(r"(alone|along)\.(?P<host>.+)\.(?P<pid>\d+)\.(?P<start>\d+)\.[0-9a-f]{32}")


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold an advisory lock on `path` (made if missing, never deleted); yields whether it was taken.

    With `wait` it always is. The lock ends with the process, however that ends. Locks that lie, as those of
    some network filesystems do, are found out and replaced. Raises OSError.
    """
    # A store that cannot be written to can still be shared.
    access = os.O_RDONLY if shared else os.O_RDWR
    handle = os.open(path, access | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    with contextlib.ExitStack() as held:
        held.callback(os.close, handle)
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        if not lock(handle, kind | (0 if wait else fcntl.LOCK_NB)):
            yield False
            return
        if not is_exclusive(path):
            yield held.enter_context(_Roster(path, shared=shared).joined(wait=wait))
            return
        yield True


def lock(handle: int, kind: int = fcntl.LOCK_EX) -> bool:
    """False when somebody else has the lock and `kind` says not to wait; true where there are no locks."""
    try:
        fcntl.flock(handle, kind)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def is_exclusive(path: Path) -> bool:
    """Whether the lock that the caller holds on `path` keeps others out, as it should. Raises OSError."""
    try:
        other = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in _UNWRITABLE:
            return True  # nobody here can want it for himself
        raise
    try:
        return not lock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(other)


class _Roster:
    """A folder beside the lock with an entry for each who holds it, or wants to. The dead do not count.

    Who has put an entry there and then sees no other that matters holds the lock: of two at the same time, at
    least one sees the other. Among those who want to be alone, the first by name stays; the others withdraw.
    """

    def __init__(self, path: Path, *, shared: bool) -> None:
        self._folder = path.with_name(f"{path.name}.d")
        self._shared = shared
        self._own = f"{'along' if shared else 'alone'}.{_identity(os.getpid())}.{uuid.uuid4().hex}"

    @contextlib.contextmanager
    def joined(self, *, wait: bool) -> Iterator[bool]:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        deadline = time.monotonic() + _PATIENCE_S
        try:
            while others := self._enter():
                if not wait:
                    self._withdraw()
                    yield False
                    return
                if time.monotonic() > deadline:
                    raise HostRefused(
                        f"waited {_PATIENCE_S:.0f} s for {others[0]} in {self._folder}",
                        hint="if that process is gone, remove this folder",
                    )
                if self._shared or any(name < self._own for name in others if name.startswith("alone.")):
                    self._withdraw()
                least, most = _PAUSE_S
                time.sleep(least + (most - least) * os.urandom(1)[0] / 255)  # spreads retries
            yield True
        finally:
            self._withdraw()

    def _enter(self) -> list[str]:
        """Put our entry there; who is in the way."""
        (self._folder / self._own).touch(0o600)
        return [
            name
            for name in os.listdir(self._folder)  # noqa: PTH208  # names alone
            if name != self._own and not (self._shared and name.startswith("along.")) and self._lives(name)
        ]

    def _withdraw(self) -> None:
        (self._folder / self._own).unlink(missing_ok=True)

    def _lives(self, name: str) -> bool:
        """An entry of a dead process, or of nobody, is removed: no later one has its name."""
        entry = _ENTRY.fullmatch(name)
        if entry is not None and _is_running(entry["host"], int(entry["pid"]), entry["start"]):
            return True
        (self._folder / name).unlink(missing_ok=True)
        return False


def _identity(pid: int) -> str:
    """Of a process on this machine, also told from a later one with the same number (where /proc exists)."""
    return f"{os.uname().nodename}.{pid}.{_start_time(pid)}"


def _start_time(pid: int) -> str:
    """Clock ticks since boot: field 22 of proc(5); "0" where nobody tells."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"


def _is_running(host: str, pid: int, start: str) -> bool:
    """Of another machine nobody knows: then it is."""
    if host != os.uname().nodename:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _start_time(pid) == start

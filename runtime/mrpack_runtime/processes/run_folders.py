"""Private folders for processes, named after our own that made them: those of a killed one are known."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from mrpack.errors import from_os_error

# Of the 103 characters that a socket's path may have, folder and socket take up to 43.
_BASE_LIMIT: Final = 60
_NAME = re.compile(r"mrpack-([1-9][0-9]{0,9})-[a-z0-9_]+")
# Where Linux keeps named shared memory.
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108  # only names that begin with a run folder's are touched


def run_base() -> Path:
    """The system's temporary folder, or /tmp when sockets would not fit below that."""
    folder = tempfile.gettempdir()
    return Path(folder if len(folder) <= _BASE_LIMIT else "/tmp")  # noqa: S108  # mkdtemp makes it safe


def make_run_folder(base: Path) -> Path:
    """With mode 0700, and a short path when `base` has one; for `remove_run_folder`. Raises HostRefused."""
    try:
        return Path(tempfile.mkdtemp(prefix=f"mrpack-{os.getpid()}-", dir=base))
    except OSError as error:
        raise from_os_error(error, "make a run folder") from error


@contextmanager
def run_folder() -> Iterator[Path]:
    """One for as long as the bracket is open; those of the killed are removed first. Raises HostRefused."""
    base = run_base()
    sweep_run_folders(base)
    folder = make_run_folder(base)
    try:
        yield folder
    finally:
        remove_run_folder(folder)


def shared_memory_prefix(run_folder: Path) -> str:
    """With which a process names its shared memory, so that it goes with the folder when it is killed."""
    return f"{run_folder.name}."


def remove_run_folder(path: Path) -> None:
    """What its process left in it and in shared memory. What cannot be removed stays."""
    shutil.rmtree(path, ignore_errors=True)
    for left in _SHARED_MEMORY.glob(f"*{shared_memory_prefix(path)}*"):
        with suppress(OSError):
            left.unlink()


def sweep_run_folders(base: Path) -> None:
    """Removes those of processes of ours that were killed."""
    try:
        found = [path for path in base.iterdir() if _is_left_over(path)]
    except OSError:
        return
    for path in found:
        remove_run_folder(path)


def _is_left_over(path: Path) -> bool:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return False
    try:
        status = path.lstat()
        if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
            return False
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False

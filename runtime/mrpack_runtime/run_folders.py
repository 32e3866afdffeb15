"""Private folders for processes, named after the gateway that made them: those of a killed one are known."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

from mrpack.errors import from_os_error

# Of the 103 characters that a socket's path may have, folder and socket take up to 43.
_BASE_LIMIT: Final = 60
_NAME = re.compile(r"mrpack-([1-9][0-9]{0,9})-[a-z0-9_]+")


def run_base() -> Path:
    """The system's temporary folder, or /tmp when sockets would not fit below that."""
    folder = tempfile.gettempdir()
    return Path(folder if len(folder) <= _BASE_LIMIT else "/tmp")  # noqa: S108  # mkdtemp makes it safe


def make_run_folder(base: Path) -> Path:
    """With mode 0700, and a short path when `base` has one. Whoever asked removes it. Raises HostRefused."""
    try:
        return Path(tempfile.mkdtemp(prefix=f"mrpack-{os.getpid()}-", dir=base))
    except OSError as error:
        raise from_os_error(error, "make a run folder") from error


def sweep_run_folders(base: Path) -> None:
    """Removes what gateways of ours left when they were killed. What cannot be removed stays."""
    try:
        found = [path for path in base.iterdir() if _is_left_over(path)]
    except OSError:
        return
    for path in found:
        shutil.rmtree(path, ignore_errors=True)


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

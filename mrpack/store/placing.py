"""Folders that were made aside, by one of several processes at once: the first of them stays."""

from __future__ import annotations

import contextlib
import errno
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path


def put_in_place(aside: Path, folder: Path, is_complete: Callable[[], bool]) -> None:
    """Give the folder `aside` the name `folder`, in place of a stale one.

    One that another process made meanwhile stays when it `is_complete`: an engine may have opened it. Raises
    OSError.
    """
    while True:
        try:
            aside.rename(folder)
            return
        except OSError as error:
            # rename(2): it does not replace a folder that is not empty.
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        if is_complete():
            return
        stale = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.stale")
        with contextlib.suppress(FileNotFoundError):
            folder.rename(stale)
            shutil.rmtree(stale, ignore_errors=True)

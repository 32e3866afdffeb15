"""Files that are whole or absent after a crash: write aside, sync, rename, sync the folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

# linux/fs.h: share the extents of one file with another (btrfs, xfs, zfs, bcachefs).
_FICLONE: Final = 0x40049409
_COPY_STEP: Final = 64 * 1024 * 1024


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` survive a power loss."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Create `folder` and its parents, durably; an existing one keeps its mode."""
    if folder.is_dir():
        return
    make_folder(folder.parent, mode)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=mode)
        sync_folder(folder.parent)


def write_atomic(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `content`; readers see the old file or the new one, also after a crash."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold an advisory lock on `path` (made if missing, never deleted); yields whether it was taken.

    With `wait` it always is. The lock ends with the process, however that ends.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(handle, kind | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


class Taken(StrEnum):
    """How a local file's content came to another name, cheapest first."""

    REFLINK = "reflink"
    HARD_LINK = "hard link"
    COPY = "copy"


def take(source: Path, target: Path, *, link: bool = True) -> Taken:
    """Give `target`, which must not exist, the content of `source` in the cheapest way the filesystem has.

    A hard link shares later changes of `source`; with `link=False` it is not used. Not synced.
    """
    with source.open("rb") as reading:
        if _reflink(reading.fileno(), target):
            return Taken.REFLINK
        if link:
            with contextlib.suppress(OSError):
                target.hardlink_to(source)
                return Taken.HARD_LINK
        _copy_in_kernel(reading.fileno(), target)
        return Taken.COPY


def _reflink(reading: int, target: Path) -> bool:
    writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.ioctl(writing, _FICLONE, reading)
    except OSError:
        target.unlink()
        return False
    finally:
        os.close(writing)
    return True


def _copy_in_kernel(reading: int, target: Path) -> None:
    writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "copy_file_range"):
            with contextlib.suppress(OSError):
                while os.copy_file_range(reading, writing, _COPY_STEP):
                    pass
        done = os.lseek(writing, 0, os.SEEK_CUR)
        os.lseek(reading, done, os.SEEK_SET)
        while chunk := os.read(reading, 1024 * 1024):
            while chunk:
                chunk = chunk[os.write(writing, chunk) :]
    except BaseException:
        target.unlink()
        raise
    finally:
        os.close(writing)

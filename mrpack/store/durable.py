"""Files that are whole or absent after a crash: write aside, sync, rename, sync the folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import uuid
from enum import StrEnum
from pathlib import Path
from typing import Final

# linux/fs.h: share the extents of one file with another (btrfs, xfs, zfs, bcachefs).
_FICLONE: Final = 0x40049409
_COPY_STEP: Final = 64 * 1024 * 1024
# Smaller files are copied: a link would save nothing, and whoever corrects a licence or a tokenizer where it
# lies would find the models edited that were made of it.
LINK_LEAST: Final = 1024 * 1024


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` survive a power loss, where the file system can."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # fsync(2): it does not support synchronization
            raise
    finally:
        os.close(handle)


def is_foreign(home: Path) -> bool:
    """Whether a folder that exists is on a read-only disk, or another user's."""
    return home.is_dir() and not os.access(home, os.W_OK)


def sync_file(path: Path) -> None:
    """For who did not write it through a handle of his own."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Create `folder` and its parents; an existing one keeps its mode. Not synced."""
    if folder.is_dir():
        return
    make_folder(folder.parent, mode)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=mode)


def write_atomic(path: Path, content: bytes, *, ingest: Path) -> None:
    """Replace `path` by `content`; readers see the old file or the new one, also after a crash.

    What a crash leaves of it lies in the folder `ingest`, on the same filesystem, made if missing.
    """
    make_folder(ingest)
    aside = ingest / f"{path.name}.{uuid.uuid4().hex}"
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
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


def read_plain(path: Path, limit: int) -> bytes:
    """A small file of ours. Links, pipes and devices, which somebody planted, are refused. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read(limit + 1)


class Taken(StrEnum):
    """How a local file's content came to another name, cheapest first."""

    REFLINK = "reflink"
    HARD_LINK = "hard link"
    COPY = "copy"


def take(source: Path, target: Path) -> Taken:
    """Give `target`, which must not exist, the content of `source` in the cheapest way the filesystem has.

    A hard link shares later changes of `source`; files below `LINK_LEAST` bytes get none. Not synced.
    """
    with source.open("rb") as reading:
        if _reflink(reading.fileno(), target):
            return Taken.REFLINK
        large = os.fstat(reading.fileno()).st_size >= LINK_LEAST
        if large and _hard_link(reading.fileno(), source, target):
            return Taken.HARD_LINK
        _copy_in_kernel(reading.fileno(), target)
        return Taken.COPY


def _hard_link(reading: int, source: Path, target: Path) -> bool:
    """link(2) follows no symbolic links, and Hugging Face's cache is made of them."""
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        return False
    if os.path.samestat(target.lstat(), os.fstat(reading)):
        return True
    target.unlink()  # `source` names another file by now
    return False


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


def bytes_on_disk(status: os.stat_result) -> int:
    """Of a file that may have holes."""
    # stat(2): the unit of st_blocks.
    return min(status.st_size, status.st_blocks * 512)

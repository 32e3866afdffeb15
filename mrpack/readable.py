"""Content that is read by position, a file on disk or an entry of an archive; and a file as a stream."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mrpack.errors import InvalidArtifact, from_os_error

ReadAt = Callable[[int, int], bytes]
"""At most `count` bytes from `offset` on, as `os.pread` gives them; raises only errors of our tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadableFile:
    """One file of a model. `name`: its relative path there; `where` names it in errors; `size` in bytes."""

    name: str
    where: str
    size: int
    read_at: ReadAt

    def read(self, *, limit: int) -> bytes:
        """The whole content; raises InvalidArtifact above `limit` bytes, or when it shrinks meanwhile."""
        if self.size > limit:
            raise InvalidArtifact(f"{self.size} bytes, more than the limit of {limit}", where=self.where)
        content = self.read_at(0, self.size)
        if len(content) != self.size:
            raise InvalidArtifact("became shorter while it was read", where=self.where)
        return content


def open_file(path: Path, name: str = "") -> ReadableFile:
    """A file on disk, as `name` in its model (by default under its own name); nothing stays open.

    Raises:
        NotFound: there is no such file.
        InvalidArtifact: not a regular file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    if not stat.S_ISREG(status.st_mode):
        raise InvalidArtifact("not a regular file", where=str(path))
    return ReadableFile(
        name=name or path.name, where=str(path), size=status.st_size, read_at=partial(_read_at, path)
    )


class FileSource:
    """An open file as a ByteSource; `fileno` lets a sender hand it to the kernel."""

    def __init__(self, handle: int, name: str) -> None:
        """`name` for people, such as "blob 0123456789ab"."""
        self._handle = handle
        self._name = name

    def readinto(self, buffer: memoryview, /) -> int:
        """Raises HostRefused: the disk cannot be read there."""
        try:
            return os.readv(self._handle, [buffer])
        except OSError as error:
            raise from_os_error(error, f"read {self._name}") from error

    def fileno(self) -> int:
        return self._handle

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def open_at(path: Path, offset: int, doing: str) -> FileSource:
    """A file from byte `offset` on; the caller closes it. Raises as `from_os_error`."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise from_os_error(error, doing) from error
    os.lseek(handle, offset, os.SEEK_SET)
    return FileSource(handle, str(path))


def _read_at(path: Path, offset: int, count: int) -> bytes:
    try:
        # Should a pipe lie there by now, its writer is not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.pread(descriptor, count, offset)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error

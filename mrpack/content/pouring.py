"""The bytes of a source into a file, for sources that know nothing of files."""

from __future__ import annotations

import os

from mrpack.digest import BUFFER_SIZE, ByteSource


class Poured:
    """Any ByteSource as a `Pouring`. Whoever opened the source closes it."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._buffer = memoryview(bytearray(BUFFER_SIZE))

    def pour(self, handle: int, position: int, limit: int) -> int:
        chunk = self._buffer[:limit]
        chunk = chunk[: self._source.readinto(chunk)]
        write_at(handle, chunk, position)
        return len(chunk)


def write_at(handle: int, chunk: memoryview, position: int) -> None:
    """All of `chunk`, from byte `position` of the open file on. Raises OSError."""
    while chunk:
        count = os.pwrite(handle, chunk, position)
        position += count
        chunk = chunk[count:]

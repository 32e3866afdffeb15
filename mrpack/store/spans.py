"""What of a part file is there, told by its length, or by a list behind the content when that has holes."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Final

_MAGIC: Final = b"mrpack spans 1\n\0"
_RECORD: Final = struct.Struct("<QQ")
# Records lie within a page each, so that a kill leaves them old or new.
_PAGE: Final = 4096
# A blob of 64 TiB in spans of 256 MiB; each connection that helps another adds one.
_RECORDS_LIMIT: Final = 1 << 18

Extent = tuple[int, int]
"""From the first byte up to the second, exclusive."""


@dataclass(slots=True)
class Span:
    """Bytes from `start` to `stop` for one connection; those before `position` are in the file."""

    start: int
    stop: int
    position: int
    slot: int
    is_taken: bool = False

    @property
    def left(self) -> int:
        return self.stop - self.position


class SpanList:
    """The list of one open part file. Not synced: what it says is hashed before anybody believes it.

    It begins at the first page behind the content: 16 bytes of magic, then first byte and end of each extent,
    in no order. Whoever finishes the file cuts the list off.
    """

    def __init__(self, handle: int, size: int) -> None:
        """`size` of the whole content."""
        self._handle = handle
        self._size = size
        self._place = (size + _PAGE - 1) // _PAGE * _PAGE

    def read(self) -> tuple[list[Extent], int]:
        """The extents that are there, and how many records the list has. Raises OSError."""
        length = os.fstat(self._handle).st_size
        if length <= self._size:
            return [(0, length)] * (length > 0), 0
        count = max(0, min(length - self._place, _RECORD.size * _RECORDS_LIMIT))
        raw = os.pread(self._handle, count, self._place)
        if raw[: len(_MAGIC)] != _MAGIC:
            return [], 0
        records = raw[len(_MAGIC) :]
        whole = records[: len(records) // _RECORD.size * _RECORD.size]
        extents = [(start, stop) for start, stop in _RECORD.iter_unpack(whole) if start < stop <= self._size]
        return merged(extents), len(whole) // _RECORD.size

    def begin(self, length: int) -> None:
        """Of a file whose first `length` bytes count: from now on the list does. Its record is slot 0."""
        os.ftruncate(self._handle, length)
        os.pwrite(self._handle, _MAGIC + _RECORD.pack(0, length), self._place)

    def write(self, span: Span) -> None:
        os.pwrite(
            self._handle,
            _RECORD.pack(span.start, span.position),
            self._place + len(_MAGIC) + span.slot * _RECORD.size,
        )


def merged(extents: list[Extent]) -> list[Extent]:
    """Sorted, and none touches another."""
    result: list[Extent] = []
    for start, stop in sorted(extents):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(stop, result[-1][1]))
        else:
            result.append((start, stop))
    return result


def missing(extents: list[Extent], size: int, longest: int) -> list[Extent]:
    """What lacks to `size`, in order, in pieces of at most `longest`. `extents` as `merged` gives them."""
    result: list[Extent] = []
    position = 0
    for start, stop in [*extents, (size, size)]:
        while position < start:
            end = min(position + longest, start)
            result.append((position, end))
            position = end
        position = stop
    return result

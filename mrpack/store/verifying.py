"""Hashing content where it lies: one stream, or many at a time, in constant memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from mrpack.digest import BUFFER_SIZE, ByteSource, VerifyingReader
from mrpack.errors import MrpackError
from mrpack.oci.descriptor import Descriptor

# Files hashed at once: more disks than this feed few machines.
_AT_ONCE: Final = 8

_Item = TypeVar("_Item")
_Finding = TypeVar("_Finding")
StillWanted = Callable[[], None]
"""To be called often: ends, by an exception of its own, what nobody waits for any more."""


class _StoppedError(MrpackError):
    """Nobody sees it."""


def verify_stream(
    stream: ByteSource, descriptor: Descriptor, advanced: Callable[[int], None] = lambda _position: None
) -> None:
    """Read it to its end and close it. `advanced` hears how far it is. Raises IntegrityError, HostRefused."""
    with contextlib.closing(stream):
        reader = VerifyingReader(stream, descriptor.digest, descriptor.size)
        buffer = memoryview(bytearray(BUFFER_SIZE))
        position = 0
        while count := reader.readinto(buffer):
            position += count
            advanced(position)


def verify_each(
    items: Iterable[_Item], check: Callable[[_Item, StillWanted], _Finding], *, jobs: int | None = None
) -> list[_Finding]:
    """What `check` finds of each, several at a time; by default one a processor. Raises the first failure."""
    from mrpack.content.crew import crew  # noqa: PLC0415  # `list` hashes nothing

    with crew(jobs or min(_AT_ONCE, os.cpu_count() or 1)) as (pool, stop):

        def still_wanted() -> None:
            if stop.is_set():
                raise _StoppedError("stopped, since nobody waits for it")

        return list(pool.map(lambda item: check(item, still_wanted), items))

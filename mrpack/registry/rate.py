"""A limit on the bytes a second, shared by all connections that are given it."""

from __future__ import annotations

import threading
from typing import Final

from mrpack.content.ports import Opener
from mrpack.digest import ByteSource
from mrpack.registry.retry import Clock

# So many pieces a second: small enough for a smooth flow and a quick end after Ctrl-C.
_PIECES: Final = 8


class RateLimit:
    """A token bucket that holds one piece. Thread-safe; whoever asks first goes first."""

    def __init__(self, bytes_per_s: int, clock: Clock | None = None) -> None:
        self._rate = bytes_per_s
        self._clock = clock or Clock()
        self._piece = max(1, bytes_per_s // _PIECES)
        self._lock = threading.Lock()
        self._free_at = self._clock.monotonic()

    def take(self, wanted: int) -> int:
        """How many of the `wanted` bytes may move now; waits until at least one may."""
        count = min(wanted, self._piece)
        with self._lock:
            now = self._clock.monotonic()
            start = max(self._free_at, now)
            self._free_at = start + count / self._rate
        if start > now:
            self._clock.sleep(start - now)
        return count

    def give_back(self, count: int) -> None:
        """Bytes that were taken and did not move."""
        with self._lock:
            self._free_at -= count / self._rate


def limited(open_at: Opener, limit: RateLimit) -> Opener:
    """The same content, read no faster."""
    return lambda offset: LimitedSource(open_at(offset), limit)


class LimitedSource:
    """A ByteSource that is read no faster than its limit. Closes its source."""

    def __init__(self, inner: ByteSource, limit: RateLimit) -> None:
        self._inner = inner
        self._limit = limit

    def readinto(self, buffer: memoryview, /) -> int:
        allowed = self._limit.take(len(buffer))
        count = 0
        try:
            count = self._inner.readinto(buffer[:allowed])
        finally:
            self._limit.give_back(allowed - count)
        return count

    def close(self) -> None:
        self._inner.close()

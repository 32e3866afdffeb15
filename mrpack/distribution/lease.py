"""Keeping `gc` away between the requests of a push."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from mrpack.errors import HostRefused
from mrpack.store.layout import OciLayout

# A client sends its manifest right after its last blob; this covers a slow one.
_LINGER_S: Final = 60.0


class Lease:
    """An open `operation` on a layout, from the first write until a while after the last. Thread-safe.

    A push is many requests, and until the last of them nothing names its blobs.
    """

    def __init__(self, layout: OciLayout, clock: Callable[[], float] = time.monotonic) -> None:
        self._layout = layout
        self._clock = clock
        self._lock = threading.Lock()
        self._held = contextlib.ExitStack()
        self._is_held = False
        self._writers = 0
        self._expiry = 0.0

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Bracket for one request that writes. Waits while another process collects garbage."""
        with self._lock:
            if not self._is_held:
                self._held.enter_context(self._layout.operation())
                self._is_held = True
            self._writers += 1
        try:
            yield
        finally:
            with self._lock:
                self._writers -= 1
                self._expiry = self._clock() + _LINGER_S

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Bracket for removing content. Raises HostRefused while anyone writes, here or elsewhere."""
        with self._lock:
            if self._writers:
                raise HostRefused("a push is under way", hint="repeat when it has finished")
            self._release()
            with self._layout.collecting():
                yield

    def expire(self) -> None:
        """Called now and then; never waits."""
        if self._lock.acquire(blocking=False):
            try:
                if not self._writers and self._clock() >= self._expiry:
                    self._release()
            finally:
                self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._release()

    def _release(self) -> None:
        self._held.close()
        self._is_held = False

"""Threads for content, which may be terabytes: who is interrupted does not wait for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def crew(size: int) -> Iterator[tuple[ThreadPoolExecutor, threading.Event]]:
    """A pool whose work is done when the bracket closes, and an event for the work to look at often.

    The event is set when the bracket ends by an exception, which is not held up: what has not begun is
    dropped.
    """
    pool = ThreadPoolExecutor(max(1, size))
    stop = threading.Event()
    try:
        yield pool, stop
    except BaseException:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()

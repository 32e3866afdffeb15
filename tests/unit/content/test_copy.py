"""How many blobs are under way at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mrpack.content.copy import copy_blobs
from mrpack.content.memory import MemoryTarget
from mrpack.content.ports import Opener
from mrpack.content.progress import silent
from mrpack.digest import Digest
from mrpack.oci.descriptor import Descriptor
from tests.waiting import DEADLINE_S

SMALL, LARGE = 4096, 64 * 1024 * 1024


class Gauge:
    """A target that keeps nothing, and knows the most blobs that were under way at once.

    Each push waits until `expected` others are there too, which shows that they come.
    """

    def __init__(self, expected: int) -> None:
        self.most = 0
        self.pushed: list[Descriptor] = []
        self._now = 0
        self._lock = threading.Lock()
        self._gathered = threading.Event()
        self._expected = expected

    def exists(self, descriptor: Descriptor) -> bool:
        return False

    def push(self, descriptor: Descriptor, open_at: Opener) -> None:
        with self._under_way():
            assert self._gathered.wait(DEADLINE_S)
            self.pushed.append(descriptor)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            if self._now == self._expected:
                self._gathered.set()
        yield
        with self._lock:
            self._now -= 1


def blobs(count: int, size: int) -> tuple[Descriptor, ...]:
    return tuple(
        Descriptor(media_type="a/b", digest=Digest.of(f"{size} {n}".encode()), size=size)
        for n in range(count)
    )


@pytest.mark.parametrize(
    ("jobs", "large", "small", "at_once"),
    [
        (3, 8, 0, 3),
        (3, 0, 20, 7),
        (3, 8, 20, 7),
        (3, 0, 2, 2),
        (1, 3, 20, 1),
        (64, 80, 80, 64),
        (3, 0, 0, 0),
    ],
)
def test_small_blobs_do_not_wait_for_large_ones(jobs: int, large: int, small: int, at_once: int) -> None:
    wanted = blobs(large, LARGE) + blobs(small, SMALL)
    target = Gauge(at_once)
    copy_blobs(MemoryTarget(), wanted, target, jobs, silent)
    assert target.most == at_once
    assert sorted(target.pushed, key=str) == sorted(wanted, key=str)

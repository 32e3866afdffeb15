"""A limited rate, by a clock that only moves when somebody sleeps."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mrpack.digest import BytesSource
from mrpack.errors import UsageError
from mrpack.model.amounts import parse_size
from mrpack.registry import RegistrySession
from mrpack.registry.rate import LimitedSource, RateLimit
from mrpack.registry.retry import Clock
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_scene import REPOSITORY, SETTINGS, WEIGHTS, pull, push


class Time:
    """Sleeping takes no time; who sleeps, moves the clock for all."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now_s += seconds

    @property
    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now_s, sleep=self.sleep)


def drain(source: LimitedSource) -> int:
    buffer = memoryview(bytearray(65_536))
    total = 0
    while count := source.readinto(buffer):
        total += count
    source.close()
    return total


def test_bytes_come_at_the_rate() -> None:
    time = Time()
    limit = RateLimit(1_000_000, time.clock)
    assert drain(LimitedSource(BytesSource(bytes(5_000_000)), limit)) == 5_000_000
    assert time.now_s == pytest.approx(5, rel=0.05)


def test_short_reads_cost_what_they_bring() -> None:
    class Trickle(BytesSource):
        def readinto(self, buffer: memoryview, /) -> int:
            return super().readinto(buffer[:10])

    time = Time()
    assert drain(LimitedSource(Trickle(bytes(10_000)), RateLimit(1_000, time.clock))) == 10_000
    assert time.now_s == pytest.approx(10, rel=0.05)


def test_time_that_passed_unused_is_not_saved_up() -> None:
    time = Time()
    limit = RateLimit(1_000, time.clock)
    time.now_s = 3_600.0
    drain(LimitedSource(BytesSource(bytes(5_000)), limit))
    assert time.now_s - 3_600 == pytest.approx(5, rel=0.05)


def test_threads_share_it() -> None:
    """Each sleeps for itself, so that the clock runs ahead: what was granted when is what counts."""
    granted: list[float] = []
    lock = threading.Lock()

    def note(seconds: float) -> None:
        with lock:
            granted.append(seconds)

    limit = RateLimit(1_000, Clock(monotonic=lambda: 0.0, sleep=note))
    with ThreadPoolExecutor(4) as pool:
        totals = list(pool.map(lambda _: drain(LimitedSource(BytesSource(bytes(2_000)), limit)), range(4)))
    assert totals == [2_000] * 4
    assert max(granted) == pytest.approx(8, rel=0.05)


def test_a_tiny_rate_still_moves() -> None:
    time = Time()
    assert drain(LimitedSource(BytesSource(bytes(5)), RateLimit(1, time.clock))) == 5


def test_pushes_and_pulls_keep_to_it(registry: FakeRegistry) -> None:
    time = Time()
    with RegistrySession(SETTINGS, rate=RateLimit(len(WEIGHTS), time.clock)) as session:
        push(session, registry)
        pushed_s = time.now_s
        pull(session, registry)
    assert pushed_s == pytest.approx(1, rel=0.1)
    assert time.now_s == pytest.approx(2, rel=0.1)
    assert registry.seen("PUT", "manifests")[0].repository == REPOSITORY


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("500K", 512_000),
        ("10M", 10 * 2**20),
        ("1.5G", 3 * 2**29),
        ("2MiB", 2**21),
        (" 3kb ", 3_072),
    ],
)
def test_sizes_are_read_as_curl_does(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "M", "10 M", "10X", "1e9", "0.0K", "1.25M", "\u0661"])
def test_what_is_no_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)

"""When a request is tried again, and how long that waits: time is a value here."""

from __future__ import annotations

import pytest

from mrpack.registry.retry import (
    Clock,
    NobodyThere,
    Retries,
    RetryPolicy,
    Transient,
    parse_retry_after,
)

POLICY = RetryPolicy(attempts=4, first_delay_s=1, longest_delay_s=5, longest_retry_after_s=60, budget_s=100)


class FakeTime:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

    def clock(self, chance: float = 1.0) -> Clock:
        return Clock(monotonic=lambda: self.now_s, sleep=self.sleep, now=lambda: 0.0, chance=lambda: chance)


def failing(
    *asked: float | None, policy: RetryPolicy = POLICY, chance: float = 1.0
) -> tuple[list[float], bool]:
    """What was slept through these failures, and whether the last one was given up on."""
    time = FakeTime()
    retries = Retries(policy, time.clock(chance))
    for retry_after_s in asked:
        try:
            retries.wait(Transient("no", retry_after_s=retry_after_s))
        except Transient:
            return time.slept, True
    return time.slept, False


@pytest.mark.parametrize(
    ("asked", "slept", "given_up"),
    [
        ([None], [1], False),
        ([None, None, None], [1, 2, 4], False),
        ([None, None, None, None], [1, 2, 4], True),
        ([7], [7], False),
        ([60], [60], False),
        ([61], [], True),
        ([9_999_999], [], True),
        ([60, 60], [60], True),
        ([0, 0, 0, 0], [], True),
        ([3, None], [3, 2], False),
    ],
)
def test_delays_grow_are_asked_for_and_end(
    asked: list[float | None], slept: list[float], given_up: bool
) -> None:
    assert failing(*asked) == (slept, given_up)


def test_where_nobody_ever_was_few_tries_are_enough() -> None:
    time = FakeTime()
    retries = Retries(RetryPolicy(), time.clock())
    for _ in range(NobodyThere.tries - 1):
        retries.wait(NobodyThere("refused"))
    with pytest.raises(NobodyThere):
        retries.wait(NobodyThere("refused"))
    assert sum(time.slept) <= 2


def test_delays_have_a_ceiling() -> None:
    policy = RetryPolicy(attempts=9, first_delay_s=1, longest_delay_s=5)
    assert failing(*[None] * 6, policy=policy)[0] == [1, 2, 4, 5, 5, 5]


def test_delays_are_spread() -> None:
    assert failing(None, None, chance=0.0)[0] == [0.5, 1.0]


def test_progress_makes_failures_forgotten() -> None:
    time = FakeTime()
    retries = Retries(POLICY, time.clock())
    for _ in range(20):
        retries.wait(Transient("cut"))
        retries.reset()
    assert time.slept == [1.0] * 20


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("5", 5.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("-3", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("9" * 400, 999_999_999_999.0),
        ("Thu, 01 Jan 1970 00:01:30 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:01:30 -0000", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, now=0.0) == seconds


def test_a_date_that_has_passed_is_now() -> None:
    assert parse_retry_after("Thu, 01 Jan 1970 00:00:10 GMT", now=100.0) == 0.0

"""When to try again, and how long to wait first."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from mrpack.errors import RegistryUnavailable


class Transient(RegistryUnavailable):
    """A failure that may go away by itself: a broken connection, 429, 5xx. The only thing that is retried.

    `retry_after_s` of 0 asks for another try at once. More than `tries` are pointless, whatever the policy.
    """

    tries: int | None = None


class NobodyThere(Transient):
    """No connection to a place that never took one: rather a wrong name, or no network, than a bad moment."""

    tries = 3


Retrying = Callable[[Transient], None]
"""Told of the first failure in a row, before the wait for the next try. Called from several threads."""


def unsaid(_failure: Transient) -> None:
    """For those who do not watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential back-off with full jitter, bounded by tries and by time.

    A registry that asks for more than `longest_retry_after_s` is not waited for: coming back sooner than it
    said would only be refused again.
    """

    attempts: int = 6
    first_delay_s: float = 0.5
    longest_delay_s: float = 20.0
    longest_retry_after_s: float = 60.0
    budget_s: float = 150.0

    def delay_s(self, failures: int, retry_after_s: float | None, chance: float) -> float:
        """Before the next try, after `failures` in a row; `chance` is a random number from 0 to 1."""
        if retry_after_s is not None:
            return retry_after_s
        ceiling = min(self.longest_delay_s, self.first_delay_s * 2.0 ** (failures - 1))
        return ceiling * (0.5 + chance / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time as the registry client sees it; tests hand in their own."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random


class Retries:
    """The failures of one operation. Not thread-safe: an operation has one thread."""

    def __init__(self, policy: RetryPolicy, clock: Clock, retrying: Retrying = unsaid) -> None:
        self._policy = policy
        self._retrying = retrying
        self._clock = clock
        self._failures = 0
        self._deadline = clock.monotonic() + policy.budget_s

    def wait(self, failure: Transient) -> None:
        """Sleep until the next try is due; raise `failure` when there is none left."""
        self._failures += 1
        asked = failure.retry_after_s
        if self._failures >= min(self._policy.attempts, failure.tries or self._policy.attempts):
            raise failure
        if asked is not None and asked > self._policy.longest_retry_after_s:
            raise failure
        delay = self._policy.delay_s(self._failures, asked, self._clock.chance())
        if self._clock.monotonic() + delay > self._deadline:
            raise failure
        if delay > 0:
            if self._failures == 1:
                self._retrying(failure)
            self._clock.sleep(delay)

    def reset(self) -> None:
        """Progress was made: what failed before does not count any more."""
        self._failures = 0
        self._deadline = self._clock.monotonic() + self._policy.budget_s


def parse_retry_after(text: str | None, now: float) -> float | None:
    """Seconds from a `Retry-After`, which is a number or a date (RFC 9110, 10.2.3); None for neither."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - now)

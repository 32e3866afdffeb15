"""Which engines live: decisions without input or output; the time is an argument."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from mrpack.digest import Digest
from mrpack.errors import EngineFailed, MrpackError
from mrpack_runtime.engine import Operation

# What a client is asked to wait when we cannot tell: an engine may be free, or loaded, by then.
_SOON_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What one engine process serves. Tags of one digest share it."""

    digest: Digest
    engine: str
    operation: Operation


class Phase(StrEnum):
    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """`max_loaded` engine processes; `max_requests` served or waiting at once, `max_waiting` of them waiting.

    `wait_s`: the longest wait for a load or for room. An engine that fails `crash_limit` times within
    `crash_window_s` is not started again until the oldest failure has left that window.
    """

    max_loaded: int = 3
    max_requests: int = 4096
    max_waiting: int = 512
    wait_s: float = 600.0
    crash_limit: int = 3
    crash_window_s: float = 60.0


class Overloaded(MrpackError):
    """No room now; `retry_after_s` says when it is worth trying again."""

    exit_code = 9
    http_status = 503
    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float = _SOON_S, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class CrashLoop(EngineFailed):
    """An engine that failed too often to be started again now; carries the last failure."""

    http_status = 503
    code = "engine_crash_loop"

    def __init__(self, last: EngineFailed, *, failures: int, retry_after_s: float) -> None:
        super().__init__(
            f"the engine failed {failures} times, it is not started again for {math.ceil(retry_after_s)} s: "
            + last.message,
            exit_status=last.exit_status,
            log_tail=last.log_tail,
            hint=last.hint,
        )
        self.retry_after_s = retry_after_s


@dataclass(slots=True, eq=False)
class Resident:
    """An engine process that exists or is about to; changed by its Schedule only.

    `keep_alive_s` counts from the last request; None keeps it until room is needed. `pinned` ones are never
    taken for room. Times are of the schedule's clock.
    """

    key: EngineKey
    phase: Phase
    since: float
    last_used: float
    keep_alive_s: float | None
    pinned: bool = False
    busy: int = 0

    @property
    def is_idle(self) -> bool:
        return self.phase is Phase.READY and self.busy == 0

    @property
    def expires_at(self) -> float | None:
        """When it has been idle for too long; None while busy or when it may stay."""
        if not self.is_idle or self.pinned or self.keep_alive_s is None:
            return None
        return self.last_used + self.keep_alive_s


@dataclass(frozen=True, slots=True)
class Use:
    """Ready, and counted as busy until `release`."""

    resident: Resident


@dataclass(frozen=True, slots=True)
class Start:
    """The caller starts a process for it, then tells `loaded` or `failed`."""

    resident: Resident


@dataclass(frozen=True, slots=True)
class Evict:
    """The caller stops the victim, tells `gone`, and asks again."""

    victim: Resident


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again after any change."""


Decision = Use | Start | Evict | Wait
_WAIT: Final = Wait()


@dataclass(slots=True)
class Schedule:
    """The state machine of one pool. Single-threaded; one caller executes its decisions."""

    limits: PoolLimits
    residents: dict[EngineKey, Resident] = field(default_factory=dict)
    # How many requests wait for each model, in the order in which the first of them came.
    _queue: dict[EngineKey, int] = field(default_factory=dict)
    _failures: dict[EngineKey, deque[tuple[float, EngineFailed]]] = field(default_factory=dict)
    _requests: int = 0
    _waiting: int = 0

    @property
    def requests(self) -> int:
        """Served or waiting."""
        return self._requests

    @property
    def has_line(self) -> bool:
        return bool(self._queue)

    # ---- a request: enter, decide until Use, release, leave; between join_line and leave_line while it waits

    def enter(self, key: EngineKey, now: float) -> None:
        """Counts a request in.

        Raises:
            Overloaded: too many requests.
            CrashLoop: the engine failed too often, too recently.
        """
        if self._requests >= self.limits.max_requests:
            raise Overloaded(f"{self._requests} requests at once are the limit")
        resident = self.residents.get(key)
        if resident is None or resident.phase is not Phase.READY:
            self._check_crashes(key, now)
            if self._waiting >= self.limits.max_waiting:
                raise Overloaded(f"{self._waiting} requests already wait for an engine", retry_after_s=5.0)
        self._requests += 1

    def leave(self) -> None:
        """Counts a request out, served or not."""
        self._requests -= 1

    def decide(
        self, key: EngineKey, now: float, *, keep_alive_s: float | None, pinned: bool = False
    ) -> Decision:
        """What to do for a request that entered.

        Raises:
            Overloaded: all engines are pinned, so that room can never come.
            CrashLoop: as in `enter`.
        """
        resident = self.residents.get(key)
        if resident is not None:
            if resident.phase is not Phase.READY:
                return _WAIT
            resident.busy += 1
            resident.last_used = now
            resident.keep_alive_s = keep_alive_s
            resident.pinned = resident.pinned or pinned
            return Use(resident)
        self._check_crashes(key, now)
        place = self._place_in_line(key)
        if place < self.limits.max_loaded - len(self.residents):
            resident = Resident(key, Phase.LOADING, now, now, keep_alive_s, pinned)
            self.residents[key] = resident
            return Start(resident)
        return self._make_room(place)

    def join_line(self, key: EngineKey) -> None:
        """A request starts to wait; those of one key stand in line once."""
        self._waiting += 1
        self._queue[key] = self._queue.get(key, 0) + 1

    def leave_line(self, key: EngineKey) -> None:
        self._waiting -= 1
        self._queue[key] -= 1
        if not self._queue[key]:
            del self._queue[key]

    def release(self, resident: Resident, now: float) -> None:
        resident.busy -= 1
        resident.last_used = now

    # ---- what happened to a process

    def loaded(self, resident: Resident, now: float) -> None:
        resident.phase = Phase.READY
        resident.since = resident.last_used = now

    def failed(self, resident: Resident, error: EngineFailed, now: float) -> None:
        """It did not start, or ended without being asked to."""
        self._failures.setdefault(resident.key, deque(maxlen=self.limits.crash_limit)).append((now, error))
        self.gone(resident)

    def gone(self, resident: Resident) -> None:
        if self.residents.get(resident.key) is resident:
            del self.residents[resident.key]

    # ---- engines to stop: marked as stopping here, reported `gone` by the caller

    def expired(self, now: float) -> tuple[Resident, ...]:
        return self._stop(
            resident
            for resident in self.residents.values()
            if resident.expires_at is not None
            and resident.expires_at <= now
            and resident.key not in self._queue
        )

    def next_expiry(self) -> float | None:
        times = (resident.expires_at for resident in self.residents.values())
        return min((time for time in times if time is not None), default=None)

    def unload(self, keys: Iterable[EngineKey], *, force: bool = False) -> tuple[Resident, ...]:
        """Those of `keys` that are idle, pinned or not; with `force` the busy and loading ones too."""
        found = [self.residents[key] for key in keys if key in self.residents]
        return self._stop(
            resident
            for resident in found
            if resident.is_idle or (force and resident.phase is not Phase.STOPPING)
        )

    # ---- inside

    def _check_crashes(self, key: EngineKey, now: float) -> None:
        failures = self._failures.get(key)
        if failures is None:
            return
        while failures and failures[0][0] <= now - self.limits.crash_window_s:
            failures.popleft()
        if not failures:
            del self._failures[key]
        elif len(failures) >= self.limits.crash_limit:
            retry_after_s = failures[0][0] + self.limits.crash_window_s - now
            raise CrashLoop(failures[-1][1], failures=len(failures), retry_after_s=retry_after_s)

    def _place_in_line(self, key: EngineKey) -> int:
        """How many other models that are not loaded came before."""
        place = 0
        for other in self._queue:
            if other == key:
                break
            place += other not in self.residents
        return place

    def _make_room(self, place: int) -> Decision:
        residents = self.residents.values()
        room = self.limits.max_loaded - len(residents)
        leaving = sum(resident.phase is Phase.STOPPING for resident in residents)
        if room + leaving > place:
            return _WAIT
        if sum(resident.pinned for resident in residents) >= self.limits.max_loaded:
            raise Overloaded(
                f"all {self.limits.max_loaded} engines are pinned to their models",
                hint="unload one, or raise --max-loaded",
                retry_after_s=60.0,
            )
        # Whoever waited for a model may not have come round to use it: it is not idle.
        idle = [
            resident
            for resident in residents
            if resident.is_idle and not resident.pinned and resident.key not in self._queue
        ]
        if not idle:
            return _WAIT
        victim = min(idle, key=lambda resident: resident.last_used)
        victim.phase = Phase.STOPPING
        return Evict(victim)

    @staticmethod
    def _stop(victims: Iterable[Resident]) -> tuple[Resident, ...]:
        chosen = tuple(victims)
        for resident in chosen:
            resident.phase = Phase.STOPPING
        return chosen

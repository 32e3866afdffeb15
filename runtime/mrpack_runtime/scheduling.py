"""Which engines live: decisions without input or output; the time is an argument."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from mrpack.digest import Digest
from mrpack.errors import EngineFailed, HostRefused, MrpackError
from mrpack_runtime.engine import Operation
from mrpack_runtime.memory import Memory, MemoryLimit, takes

# What a client is asked to wait when we cannot tell: an engine may be free, or loaded, by then.
_SOON_S: Final = 1.0
_NO_MEMORY: Final = Memory()
_NO_LIMIT: Final = MemoryLimit()


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What one engine process serves. Tags of one digest share it, unless their settings differ.

    `variant` stands for the engine's settings.
    """

    digest: Digest
    engine: str
    operation: Operation
    variant: str = ""

    def is_variant_of(self, other: EngineKey) -> bool:
        """The same but for its settings."""
        return self != other and replace(self, variant=other.variant) == other


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a request needs. `name` is the model's: of one name only the newest settings stay.

    `need`: memory of its engine; `keep_alive_s`, `pinned`: as of Resident.
    """

    key: EngineKey
    name: str = ""
    need: Memory = _NO_MEMORY
    keep_alive_s: float | None = 300.0
    pinned: bool = False

    @property
    def line(self) -> tuple[str, str, Operation]:
        """Of engines of which only the newest stays."""
        return self.name, self.key.engine, self.key.operation


class Phase(StrEnum):
    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """`max_loaded` engine processes; `max_requests` served or waiting at once, `max_waiting` of them waiting.

    `memory`: of all engines together. `wait_s`: the longest wait for a load or for room. An engine that fails
    `crash_limit` times within `crash_window_s` is not started again until the oldest failure has left that
    window.
    """

    max_loaded: int = 3
    max_requests: int = 4096
    max_waiting: int = 512
    memory: MemoryLimit = _NO_LIMIT
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


class TooLarge(HostRefused):
    """This model can never be loaded here, whatever else leaves."""

    code = "insufficient_memory"


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
    taken for room. `outdated`: its model is wanted with other settings, so that it ends with its requests.
    Times are of the schedule's clock.
    """

    key: EngineKey
    phase: Phase
    since: float
    last_used: float
    keep_alive_s: float | None
    pinned: bool = False
    name: str = ""
    need: Memory = _NO_MEMORY
    busy: int = 0
    outdated: bool = False

    @property
    def is_idle(self) -> bool:
        return self.phase is Phase.READY and self.busy == 0

    @property
    def is_lent(self) -> bool:
        """Whether requests can have it."""
        return self.phase is Phase.READY and not self.outdated

    @property
    def expires_at(self) -> float | None:
        """When it has been idle for too long; None while busy or when it may stay."""
        if not self.is_idle:
            return None
        if self.outdated:
            return self.last_used
        if self.pinned or self.keep_alive_s is None:
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
class _Line:
    """Requests that wait for one engine, and the memory it will take."""

    need: Memory
    count: int = 0


@dataclass(slots=True)
class Schedule:
    """The state machine of one pool. Single-threaded; one caller executes its decisions."""

    limits: PoolLimits
    residents: dict[EngineKey, Resident] = field(default_factory=dict)
    # Who waits for each engine, in the order in which the first of them came.
    _queue: dict[EngineKey, _Line] = field(default_factory=dict)
    # Names and engines that were pinned with other settings.
    _heirs: set[tuple[str, str, Operation]] = field(default_factory=set)
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
        if resident is None or not resident.is_lent:
            self._check_crashes(key, now)
            if self._waiting >= self.limits.max_waiting:
                raise Overloaded(f"{self._waiting} requests already wait for an engine", retry_after_s=5.0)
        self._requests += 1

    def leave(self) -> None:
        """Counts a request out, served or not."""
        self._requests -= 1

    def decide(self, demand: Demand, now: float) -> Decision:
        """What to do for a request that entered.

        Raises:
            TooLarge: the engine takes more memory than all engines may.
            Overloaded: pinned engines leave no room, so that it can never come.
            CrashLoop: as in `enter`.
        """
        key = demand.key
        resident = self.residents.get(key)
        if resident is not None:
            if not resident.is_lent:
                return _WAIT
            resident.busy += 1
            resident.last_used = now
            resident.keep_alive_s = demand.keep_alive_s
            resident.pinned = resident.pinned or demand.pinned
            return Use(resident)
        self._check_crashes(key, now)
        self._check_size(demand)
        decision = self._end_predecessors(demand)
        if decision is not None:
            return decision
        ahead = self._ahead_of(key)
        if self._is_room(self.residents.values(), ahead, demand.need):
            return Start(self._place(demand, now))
        return self._make_room(ahead, demand)

    def _place(self, demand: Demand, now: float) -> Resident:
        resident = Resident(
            demand.key,
            Phase.LOADING,
            now,
            now,
            demand.keep_alive_s,
            demand.pinned or demand.line in self._heirs,
            demand.name,
            demand.need,
        )
        self._heirs.discard(demand.line)
        self.residents[demand.key] = resident
        return resident

    @property
    def waiting(self) -> int:
        return self._waiting

    def join_line(self, demand: Demand) -> None:
        """A request starts to wait; those of one key stand in line once."""
        self._waiting += 1
        self._queue.setdefault(demand.key, _Line(demand.need)).count += 1

    def leave_line(self, key: EngineKey) -> None:
        self._waiting -= 1
        self._queue[key].count -= 1
        if not self._queue[key].count:
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
            and (resident.outdated or resident.key not in self._queue)
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

    def _check_size(self, demand: Demand) -> None:
        lacking = self.limits.memory.lacks(demand.need)
        if lacking:
            raise TooLarge(
                f"{demand.name or demand.key.digest.short} would take {demand.need}, and engines may take "
                + self.limits.memory.describe(min(lacking)),
                hint="a smaller context_size or quantization takes less, --memory-limit allows more",
            )

    def _end_predecessors(self, demand: Demand) -> Decision | None:
        """Those of the same name with other settings end first; requests that waited for them are served."""
        for older in self.residents.values():
            if older.name != demand.name or not older.key.is_variant_of(demand.key):
                continue
            if older.is_lent and older.key not in self._queue:
                older.outdated = True
                if older.pinned:
                    self._heirs.add(demand.line)
            if not (older.outdated and older.is_idle):
                return _WAIT
            older.phase = Phase.STOPPING
            return Evict(older)
        return None

    def _ahead_of(self, key: EngineKey) -> list[Memory]:
        """What the other engines take that are not there yet and were asked for before."""
        ahead = []
        for other, line in self._queue.items():
            if other == key:
                break
            if other not in self.residents:
                ahead.append(line.need)
        return ahead

    def _is_room(self, residents: Iterable[Resident], ahead: list[Memory], need: Memory) -> bool:
        """Whether one more fits beside `residents` and all that come before it."""
        needs = [*(resident.need for resident in residents), *ahead, need]
        return len(needs) <= self.limits.max_loaded and not self.limits.memory.lacks(sum(needs, _NO_MEMORY))

    def _make_room(self, ahead: list[Memory], demand: Demand) -> Decision:
        residents = self.residents.values()
        staying = [resident for resident in residents if resident.phase is not Phase.STOPPING]
        if self._is_room(staying, ahead, demand.need):
            return _WAIT
        pinned = [resident for resident in residents if resident.pinned]
        if not self._is_room(pinned, [], demand.need):
            raise Overloaded(
                f"{len(pinned)} engines that are pinned to their models leave no room for {demand.need}",
                hint="unload one, or raise --max-loaded or --memory-limit",
                retry_after_s=60.0,
            )
        # Whoever waited for a model may not have come round to use it: it is not idle.
        idle = [
            resident
            for resident in staying
            if resident.is_idle and not resident.pinned and resident.key not in self._queue
        ]
        busy = [resident for resident in staying if resident not in idle]
        if not self._is_room(busy, ahead, demand.need):
            return _WAIT  # what is idle would go for nothing
        needs = [*(resident.need for resident in staying), *ahead, demand.need]
        lacking = self.limits.memory.lacks(sum(needs, _NO_MEMORY))
        victim = min(
            (
                resident
                for resident in idle
                if len(needs) > self.limits.max_loaded or takes(resident.need, lacking)
            ),
            key=lambda resident: resident.last_used,
        )
        victim.phase = Phase.STOPPING
        return Evict(victim)

    @staticmethod
    def _stop(victims: Iterable[Resident]) -> tuple[Resident, ...]:
        chosen = tuple(victims)
        for resident in chosen:
            resident.phase = Phase.STOPPING
        return chosen

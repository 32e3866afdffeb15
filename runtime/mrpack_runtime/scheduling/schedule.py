"""The state machine: what to do for a request, and what becomes of the engines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mrpack.errors import EngineFailed
from mrpack_runtime.scheduling.admission import Failures, Overloaded, PoolLimits, check_size
from mrpack_runtime.scheduling.keys import Demand, EngineKey, Succession
from mrpack_runtime.scheduling.line import Line
from mrpack_runtime.scheduling.residents import Phase, Resident
from mrpack_runtime.scheduling.room import Place


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


class Schedule:
    """The state machine of one pool. Single-threaded; one caller executes its decisions."""

    def __init__(self, limits: PoolLimits) -> None:
        self.limits: Final = limits
        self.residents: Final[dict[EngineKey, Resident]] = {}
        self._line = Line()
        self._failures = Failures(limits)
        # Of engines that were pinned, and crashed, had other settings or lost their name.
        self._heirs: set[Succession] = set()
        self._requests = 0

    @property
    def requests(self) -> int:
        """Served or waiting."""
        return self._requests

    @property
    def waiting(self) -> int:
        return self._line.waiting

    @property
    def has_line(self) -> bool:
        return bool(self._line)

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
        here = resident.busy if resident is not None else 0
        if resident is None or not resident.is_lent:
            self._failures.check(key, now)
            if self.waiting >= self.limits.max_waiting:
                raise Overloaded(f"{self.waiting} requests already wait for an engine", retry_after_s=5.0)
            here += self._line.count_of(key)
        if here >= self.limits.max_per_engine:
            raise Overloaded(f"{here} requests at once are the limit for one model")
        self._requests += 1

    def leave(self) -> None:
        """Counts a request out, served or not."""
        self._requests -= 1

    def join_line(self, demand: Demand) -> None:
        """A request starts to wait."""
        self._line.join(demand)

    def leave_line(self, key: EngineKey) -> None:
        self._line.leave(key)

    def find_ready(self, demand: Demand, now: float) -> Resident | None:
        """For a request that entered: its engine, counted as busy, if it need not wait; `decide` in short."""
        resident = self.residents.get(demand.key)
        if resident is None or not resident.is_lent:
            return None
        return self._use(resident, demand, now)

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
            return Use(self._use(resident, demand, now)) if resident.is_lent else _WAIT
        self._failures.check(key, now)
        check_size(demand, self.limits.memory)
        if (decision := self._end_predecessors(demand)) is not None:
            return decision
        self._take_pin(demand)
        place = Place(demand.need, self._line.ahead_of(key, self.residents), self.limits)
        if place.fits_beside(self.residents.values()):
            return Start(self._add(demand, now))
        victim = place.victim(self.residents.values(), self._line)
        return _WAIT if victim is None else self._evict(victim)

    def release(self, resident: Resident, now: float) -> None:
        resident.busy -= 1
        resident.last_used = now

    # ---- what happened to a process

    def loaded(self, resident: Resident, now: float) -> None:
        resident.phase = Phase.READY
        resident.since = resident.last_used = now

    def failed(self, resident: Resident, error: EngineFailed, now: float) -> None:
        """It did not start, or ended without being asked to. Pinned ones come back pinned."""
        self._failures.add(resident.key, error, now)
        if resident.pinned:
            self._heirs.add(resident.succession)
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
            and (resident.outdated or resident.key not in self._line)
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

    @staticmethod
    def _use(resident: Resident, demand: Demand, now: float) -> Resident:
        resident.busy += 1
        resident.last_used = now
        resident.keep_alive_s = demand.keep_alive_s
        resident.pinned = resident.pinned or demand.pinned
        return resident

    def _add(self, demand: Demand, now: float) -> Resident:
        resident = self.residents[demand.key] = Resident(
            demand.key,
            Phase.LOADING,
            since=now,
            last_used=now,
            keep_alive_s=demand.keep_alive_s,
            pinned=demand.pinned or demand.succession in self._heirs,
            name=demand.name,
            need=demand.need,
        )
        self._heirs.discard(demand.succession)
        return resident

    def _end_predecessors(self, demand: Demand) -> Decision | None:
        """Those of the same name with other settings end first; requests that waited for them are served."""
        for older in self.residents.values():
            if older.name != demand.name or not older.key.is_variant_of(demand.key):
                continue
            if older.is_lent and older.key not in self._line:
                older.outdated = True
                if older.pinned:
                    self._heirs.add(demand.succession)
            return self._evict(older) if older.outdated and older.is_idle else _WAIT
        return None

    def _take_pin(self, demand: Demand) -> None:
        """From the model that the name meant before: that may go now."""
        for former in self.residents.values():
            if former.pinned and former.succession == demand.succession:
                former.pinned = False
                self._heirs.add(demand.succession)

    def _evict(self, victim: Resident) -> Evict:
        victim.phase = Phase.STOPPING
        return Evict(victim)

    @staticmethod
    def _stop(victims: Iterable[Resident]) -> tuple[Resident, ...]:
        chosen = tuple(victims)
        for resident in chosen:
            resident.phase = Phase.STOPPING
        return chosen

"""A schedule to drive by hand: a clock that stands still, and requests that do as they are told."""

from __future__ import annotations

from mrpack.digest import Digest
from mrpack.errors import EngineFailed
from mrpack_runtime.engine import Operation
from mrpack_runtime.machine.memory import Memory
from mrpack_runtime.scheduling import Demand, EngineKey, PoolLimits, Resident, Schedule, Start, Use


def key(name: str) -> EngineKey:
    return EngineKey(Digest.of(name.encode()), "fake", Operation.COMPLETION)


def variant(name: EngineKey, settings: str) -> EngineKey:
    return name._replace(variant=settings)


A, B, C, D = (key(name) for name in "abcd")
BROKEN = EngineFailed("it broke", exit_status=3, log_tail="E tensor is cut")


class Driver:
    def __init__(self, **limits) -> None:
        self.schedule = Schedule(PoolLimits(**limits))
        self.now = 100.0
        self.needs: dict[EngineKey, Memory] = {}

    def ask(self, name: EngineKey, keep_alive_s: float | None = 300.0, *, pinned: bool = False):
        return self.schedule.decide(self.demand(name, keep_alive_s, pinned=pinned), self.now)

    def demand(self, name: EngineKey, keep_alive_s: float | None = 300.0, *, pinned: bool = False) -> Demand:
        return Demand(
            key=name,
            name=name.digest.short,
            need=self.needs.get(name, Memory()),
            keep_alive_s=keep_alive_s,
            pinned=pinned,
        )

    def request(self, name: EngineKey, keep_alive_s: float | None = 300.0, *, pinned: bool = False):
        """Enters, and stands in line while it is not served."""
        self.schedule.enter(name, self.now)
        self.schedule.join_line(self.demand(name))
        return self.ask(name, keep_alive_s, pinned=pinned)

    def served(self, name: EngineKey) -> Resident:
        """The request that waits is served now."""
        decision = self.ask(name)
        assert isinstance(decision, Use)
        self.schedule.leave_line(name)
        return decision.resident

    def load(self, name: EngineKey, keep_alive_s: float | None = 300.0, *, pinned: bool = False) -> Resident:
        """From nothing to busy."""
        decision = self.request(name, keep_alive_s, pinned=pinned)
        assert isinstance(decision, Start)
        self.schedule.loaded(decision.resident, self.now)
        use = self.ask(name, keep_alive_s, pinned=pinned)
        assert isinstance(use, Use)
        self.schedule.leave_line(name)
        return use.resident

    def release(self, resident: Resident) -> None:
        self.schedule.release(resident, self.now)
        self.schedule.leave()

    def idle(self, name: EngineKey, keep_alive_s: float | None = 300.0, *, pinned: bool = False) -> Resident:
        """From nothing to loaded and idle, a second later."""
        resident = self.load(name, keep_alive_s, pinned=pinned)
        self.release(resident)
        self.now += 1
        return resident

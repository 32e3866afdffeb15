"""The schedule under any order of events: what it promises holds at every step, and everybody is answered."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mrpack_runtime.machine.memory import Memory, MemoryLimit
from mrpack_runtime.scheduling import (
    CrashLoop,
    Demand,
    EngineKey,
    Evict,
    Overloaded,
    Phase,
    PoolLimits,
    Resident,
    Schedule,
    Start,
    Use,
)
from tests.effort import EFFORT
from tests.unit.scheduling.schedule_driver import BROKEN, A, B, C, D, variant

# By model: its memory in the machine of 10 with a GPU of 6.
NEEDS = {A: Memory(2), B: Memory(1, (5,)), C: Memory(6, (2,)), D: Memory(9)}
MACHINE = MemoryLimit(10, (6,))
PINNED = (A, B)


class ScheduleMachine(RuleBasedStateMachine):
    """Any order of events keeps the promises."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        limits = PoolLimits(
            max_loaded=3, max_requests=12, max_per_engine=7, max_waiting=8, memory=MACHINE, crash_limit=2
        )
        self.schedule = Schedule(limits)
        self.settings = dict.fromkeys(NEEDS, "first")
        self.waiting: list[Demand] = []
        self.leases: list[Resident] = []
        self.loading: list[Resident] = []
        self.stopping: list[Resident] = []

    def poll(self) -> None:
        """Everyone who waits asks again, as the pool makes them do."""
        again = True
        while again:
            again = False
            for demand in list(self.waiting):
                may_go = {resident for resident in self.schedule.residents.values() if self.may_go(resident)}
                try:
                    decision = self.schedule.decide(demand, self.now)
                except (Overloaded, CrashLoop):
                    self.leave(demand)
                    again = True
                    continue
                match decision:
                    case Use(resident):
                        assert resident.phase is Phase.READY
                        assert resident.key == demand.key
                        self.schedule.leave_line(demand.key)
                        self.waiting.remove(demand)
                        self.leases.append(resident)
                        again = True
                    case Start(resident):
                        self.loading.append(resident)
                        again = True
                    case Evict(victim):
                        assert victim in may_go or (victim.outdated and victim.busy == 0)
                        assert victim not in self.loading
                        assert victim.phase is Phase.STOPPING
                        self.stopping.append(victim)
                        again = True

    def may_go(self, resident: Resident) -> bool:
        """Nobody uses it, waits for it or has pinned it."""
        wanted = {demand.key for demand in self.waiting}
        return resident.is_idle and not resident.pinned and resident.key not in wanted

    def leave(self, demand: Demand) -> None:
        self.schedule.leave_line(demand.key)
        self.schedule.leave()
        self.waiting.remove(demand)

    @rule(name=st.sampled_from([A, B, C, D]), pinned=st.booleans())
    def request(self, name: EngineKey, pinned: bool) -> None:
        key = variant(name, self.settings[name])
        demand = Demand(
            key=key,
            name=name.digest.short,
            need=NEEDS[name],
            keep_alive_s=5.0,
            pinned=pinned and name in PINNED,
        )
        try:
            self.schedule.enter(key, self.now)
        except (Overloaded, CrashLoop):
            return
        self.schedule.join_line(demand)
        self.waiting.append(demand)
        self.poll()

    @rule(name=st.sampled_from([A, B, C, D]), settings=st.sampled_from(["first", "second", "third"]))
    def somebody_configures(self, name: EngineKey, settings: str) -> None:
        self.settings[name] = settings

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def client_leaves(self, data: st.DataObject) -> None:
        self.leave(data.draw(st.sampled_from(self.waiting)))
        self.poll()

    @precondition(lambda self: self.loading)
    @rule(data=st.data(), fails=st.booleans())
    def load_ends(self, data: st.DataObject, fails: bool) -> None:
        resident = data.draw(st.sampled_from(self.loading))
        self.loading.remove(resident)
        if fails:
            self.schedule.failed(resident, BROKEN, self.now)
        else:
            self.schedule.loaded(resident, self.now)
        self.poll()

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def request_ends(self, data: st.DataObject) -> None:
        resident = data.draw(st.sampled_from(self.leases))
        self.leases.remove(resident)
        self.schedule.release(resident, self.now)
        self.schedule.leave()
        self.poll()

    @precondition(lambda self: self.stopping)
    @rule()
    def stop_ends(self) -> None:
        self.schedule.gone(self.stopping.pop(0))
        self.poll()

    @precondition(lambda self: self.alive(Phase.READY))
    @rule(data=st.data())
    def engine_crashes(self, data: st.DataObject) -> None:
        """Busy or idle; requests that have it still end one by one."""
        self.schedule.failed(data.draw(st.sampled_from(self.alive(Phase.READY))), BROKEN, self.now)
        self.poll()

    @rule(name=st.sampled_from([A, B, C, D]), force=st.booleans())
    def somebody_unloads(self, name: EngineKey, force: bool) -> None:
        keys = [key for key in self.schedule.residents if key.digest == name.digest]
        victims = self.schedule.unload(keys, force=force)
        self.loading = [resident for resident in self.loading if resident not in victims]
        self.stopping.extend(victims)
        self.poll()

    def alive(self, phase: Phase) -> list[Resident]:
        return [resident for resident in self.schedule.residents.values() if resident.phase is phase]

    @rule(seconds=st.floats(0.1, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.stopping.extend(self.schedule.expired(self.now))
        self.poll()

    @invariant()
    def the_limits_hold(self) -> None:
        residents = self.schedule.residents.values()
        assert len(residents) <= 3
        assert not MACHINE.lacks(sum((resident.need for resident in residents), Memory()))
        assert self.schedule.requests == len(self.waiting) + len(self.leases) <= 12
        for resident in residents:
            assert resident.busy == self.leases.count(resident)
            assert resident.busy + [demand.key for demand in self.waiting].count(resident.key) <= 7
            if resident.phase is Phase.STOPPING:
                assert resident in self.stopping
            assert (resident.phase is Phase.LOADING) == (resident in self.loading)

    @invariant()
    def nobody_waits_without_reason(self) -> None:
        """Whoever waits can name a load, a stop or a busy engine that will end, and stands in line."""
        if self.waiting:
            assert self.loading or self.stopping or self.leases
        assert self.schedule.waiting == len(self.waiting)
        assert self.schedule.has_line == bool(self.waiting)

    @invariant()
    def nobody_waits_for_an_engine_that_is_ready(self) -> None:
        ready = {resident.key for resident in self.schedule.residents.values() if resident.is_lent}
        assert not ready.intersection(demand.key for demand in self.waiting)

    @invariant()
    def one_engine_a_model_has_its_newest_settings(self) -> None:
        for name in NEEDS:
            lent = [r for r in self.schedule.residents.values() if r.is_lent and r.key.digest == name.digest]
            assert len(lent) <= 1

    def teardown(self) -> None:
        """When all that is under way ends, everybody who waits is served, or told why not."""
        for _ in range(1000):
            if self.loading:
                self.schedule.loaded(self.loading.pop(0), self.now)
            elif self.leases:
                self.schedule.release(self.leases.pop(0), self.now)
                self.schedule.leave()
            elif self.stopping:
                self.schedule.gone(self.stopping.pop(0))
            elif not self.waiting:
                break
            self.poll()
        assert not self.waiting
        assert self.schedule.waiting == self.schedule.requests == 0


TestScheduleMachine = ScheduleMachine.TestCase
TestScheduleMachine.settings = settings(max_examples=100 * EFFORT, stateful_step_count=40, deadline=None)


@pytest.mark.slow
def test_long_histories_keep_the_promises_too():
    run_state_machine_as_test(
        ScheduleMachine, settings=settings(max_examples=40 * EFFORT, stateful_step_count=150, deadline=None)
    )

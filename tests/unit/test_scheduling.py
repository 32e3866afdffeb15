"""Which engines live: the state machine, under a clock that stands still unless told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mrpack.digest import Digest
from mrpack.errors import EngineFailed
from mrpack_runtime.engine import Operation
from mrpack_runtime.memory import Memory, MemoryLimit
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
    TooLarge,
    Use,
    Wait,
)


def key(name: str) -> EngineKey:
    return EngineKey(Digest.of(name.encode()), "fake", Operation.COMPLETION)


A, B, C, D = (key(name) for name in "abcd")
BROKEN = EngineFailed("it broke", exit_status=3, log_tail="E tensor is cut")


class Driver:
    """A schedule with a clock, and requests that do as they are told."""

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


def test_one_load_serves_all_who_wait():
    d = Driver()
    first = d.request(A)
    assert isinstance(first, Start)
    assert [d.request(A) for _ in range(3)] == [Wait()] * 3
    d.schedule.loaded(first.resident, d.now)
    assert [d.served(A) for _ in range(4)] == [first.resident] * 4
    assert first.resident.busy == 4


def test_a_load_goes_on_when_its_clients_leave():
    d = Driver()
    start = d.request(A)
    assert isinstance(start, Start)
    d.schedule.leave_line(A)
    d.schedule.leave()
    d.schedule.loaded(start.resident, d.now)
    assert d.request(A) == Use(start.resident)


def test_engines_are_started_up_to_the_limit():
    d = Driver(max_loaded=2)
    d.load(A)
    d.load(B)
    assert d.request(C) == Wait()


def test_the_least_recently_used_engine_makes_room():
    d = Driver(max_loaded=3)
    a, b, _ = d.idle(A), d.idle(B), d.idle(C)
    d.release(d.ask(A).resident)
    assert d.request(D) == Evict(b)
    assert b.phase is Phase.STOPPING
    assert a.phase is Phase.READY
    assert d.ask(D) == Wait()
    d.schedule.gone(b)
    assert isinstance(d.ask(D), Start)


def test_busy_loading_and_pinned_engines_are_never_taken():
    d = Driver(max_loaded=3)
    d.load(A)
    d.request(B)
    d.idle(C, pinned=True)
    assert d.request(D) == Wait()


def test_pinned_engines_stay_when_they_are_idle():
    d = Driver(max_loaded=1)
    d.idle(A, keep_alive_s=5, pinned=True)
    d.now += 1e6
    assert d.schedule.expired(d.now) == ()
    with pytest.raises(Overloaded):
        d.request(B)


def test_one_victim_makes_room_for_one_model():
    d = Driver(max_loaded=2)
    a, b = d.idle(A), d.idle(B)
    assert d.request(C) == Evict(a)
    assert d.request(C) == Wait()
    assert d.request(D) == Evict(b)
    assert d.ask(D) == Wait()


def test_models_get_room_in_the_order_they_came():
    d = Driver(max_loaded=1)
    a = d.load(A)
    assert d.request(B) == Wait()
    assert d.request(C) == Wait()
    d.release(a)
    assert d.ask(C) == Wait()
    assert d.ask(B) == Evict(a)
    d.schedule.gone(a)
    assert d.ask(C) == Wait()
    assert isinstance(d.ask(B), Start)


def test_who_leaves_the_line_gives_up_the_place():
    d = Driver(max_loaded=1)
    a = d.load(A)
    d.request(B)
    d.request(C)
    d.schedule.leave_line(B)
    d.schedule.leave()
    d.release(a)
    assert d.ask(C) == Evict(a)
    d.schedule.gone(a)
    assert isinstance(d.ask(C), Start)


def test_a_model_that_was_just_loaded_is_not_taken_from_those_who_waited():
    d = Driver(max_loaded=1)
    start = d.request(A)
    assert isinstance(start, Start)
    d.request(B)
    d.schedule.loaded(start.resident, d.now)
    assert d.ask(B) == Wait()
    assert d.schedule.expired(d.now + 1e6) == ()
    assert d.served(A) is start.resident


def test_idle_engines_expire_after_their_keep_alive():
    d = Driver()
    a = d.idle(A, keep_alive_s=60)
    d.idle(B, keep_alive_s=None)
    busy = d.load(C, keep_alive_s=0)
    assert d.schedule.next_expiry() == a.last_used + 60
    assert d.schedule.expired(a.last_used + 59) == ()
    assert d.schedule.expired(a.last_used + 60) == (a,)
    assert d.schedule.next_expiry() is None
    d.release(busy)
    assert d.schedule.expired(d.now) == (busy,)


def test_a_request_changes_the_keep_alive_and_starts_it_anew():
    d = Driver()
    a = d.idle(A, keep_alive_s=60)
    d.now += 50
    d.release(d.ask(A, keep_alive_s=100).resident)
    assert a.expires_at == d.now + 100


def test_requests_during_a_stop_wait_for_a_new_engine():
    d = Driver()
    a = d.idle(A, keep_alive_s=10)
    d.now += 20
    assert d.schedule.expired(d.now) == (a,)
    assert d.request(A) == Wait()
    d.schedule.gone(a)
    fresh = d.ask(A)
    assert isinstance(fresh, Start)
    assert fresh.resident is not a


def test_the_release_of_an_engine_that_is_gone_changes_nothing_for_its_successor():
    d = Driver()
    old = d.load(A)
    d.schedule.failed(old, BROKEN, d.now)
    new = d.load(A)
    d.release(old)
    assert new.busy == 1


def test_unload_takes_idle_engines_and_with_force_all():
    d = Driver()
    a, b = d.idle(A, pinned=True), d.load(B)
    c = d.request(C)
    assert d.schedule.unload([A, B, C, D]) == (a,)
    assert d.schedule.unload([A, B, C, D], force=True) == (b, c.resident)
    assert d.schedule.unload([A, B, C, D], force=True) == ()


def test_a_crash_loop_is_cut_after_three_failures_in_a_minute():
    d = Driver()
    for _ in range(3):
        start = d.request(A)
        assert isinstance(start, Start)
        d.schedule.failed(start.resident, BROKEN, d.now)
        d.schedule.leave_line(A)
        d.schedule.leave()
        d.now += 10
    with pytest.raises(CrashLoop) as caught:
        d.schedule.enter(A, d.now)
    error = caught.value
    assert (error.retry_after_s, error.exit_status, error.log_tail) == (30, 3, "E tensor is cut")
    assert "it broke" in error.message
    assert isinstance(d.request(B), Start)
    d.now += 30
    assert isinstance(d.request(A), Start)


def test_those_who_wait_see_a_crash_loop_too():
    d = Driver(crash_limit=1)
    start = d.request(A)
    d.request(A)
    d.schedule.failed(start.resident, BROKEN, d.now)
    with pytest.raises(CrashLoop):
        d.ask(A)


def test_an_orderly_stop_is_no_failure():
    d = Driver(crash_limit=1)
    d.schedule.gone(d.idle(A))
    assert isinstance(d.request(A), Start)


def test_too_many_requests_are_refused_at_once():
    d = Driver(max_requests=2, max_waiting=2)
    d.request(A)
    d.request(A)
    with pytest.raises(Overloaded):
        d.schedule.enter(A, d.now)


def test_the_line_is_bounded_but_ready_engines_have_none():
    d = Driver(max_waiting=1)
    ready = d.idle(A)
    d.request(B)
    with pytest.raises(Overloaded):
        d.schedule.enter(B, d.now)
    d.schedule.enter(A, d.now)
    assert d.ask(A) == Use(ready)


def variant(name: EngineKey, settings: str) -> EngineKey:
    return replace(name, variant=settings)


def test_other_settings_start_another_engine_once_the_old_one_has_ended():
    d = Driver()
    old, new = variant(A, "1"), variant(A, "2")
    first = d.load(old)
    assert d.request(new) == Wait()
    assert d.request(old) == Wait(), "nobody gets the old settings any more"
    d.release(first)
    assert d.ask(new) == Evict(first)
    d.schedule.gone(first)
    assert isinstance(d.ask(new), Start)


def test_requests_that_came_before_the_change_are_served_first():
    d = Driver()
    old, new = variant(A, "1"), variant(A, "2")
    start = d.request(old)
    assert d.request(new) == Wait()
    d.schedule.loaded(start.resident, d.now)
    assert d.ask(new) == Wait()
    d.release(d.served(old))
    assert d.ask(new) == Evict(start.resident)


def test_an_engine_with_old_settings_goes_even_if_nobody_waits_any_more():
    d = Driver()
    first = d.load(variant(A, "1"), pinned=True)
    d.request(variant(A, "2"))
    d.schedule.leave_line(variant(A, "2"))
    d.schedule.leave()
    d.release(first)
    assert d.schedule.next_expiry() == d.now
    assert d.schedule.expired(d.now) == (first,)
    d.schedule.gone(first)
    fresh = d.request(variant(A, "2"))
    assert isinstance(fresh, Start)
    assert fresh.resident.pinned, "what was pinned stays so"


def test_another_name_of_the_same_model_keeps_its_own_settings():
    d = Driver()
    first = d.load(variant(A, "1"))
    d.schedule.enter(variant(A, "2"), d.now)
    demand = Demand(key=variant(A, "2"), name="another")
    d.schedule.join_line(demand)
    assert isinstance(d.schedule.decide(demand, d.now), Start)
    assert first.is_lent


GIB = 2**30


def test_memory_is_never_promised_twice():
    d = Driver(memory=MemoryLimit(8 * GIB))
    d.needs = {A: Memory(5 * GIB), B: Memory(4 * GIB), C: Memory(3 * GIB)}
    a = d.idle(A)
    assert d.request(B) == Evict(a)
    assert d.ask(B) == Wait(), "it is not gone yet"
    d.schedule.gone(a)
    assert isinstance(d.ask(B), Start)
    assert isinstance(d.request(C), Start)


def test_a_model_that_never_fits_is_refused_with_numbers():
    d = Driver(memory=MemoryLimit(8 * GIB, (4 * GIB,)))
    d.needs = {A: Memory(9 * GIB), B: Memory(GIB, (5 * GIB,))}
    with pytest.raises(TooLarge, match=r"would take 9\.0 GiB of memory, and engines may take 8\.0 GiB"):
        d.request(A)
    with pytest.raises(TooLarge, match=r"5\.0 GiB of GPU 0, and engines may take 4\.0 GiB of GPU 0"):
        d.request(B)


def test_only_those_go_that_have_what_is_missing():
    d = Driver(memory=MemoryLimit(8 * GIB, (4 * GIB,)), max_loaded=8)
    d.needs = {A: Memory(GIB), B: Memory(GIB, (3 * GIB,)), C: Memory(GIB, (3 * GIB,))}
    d.idle(A)
    b = d.idle(B)
    assert d.request(C) == Evict(b)


def test_nothing_is_unloaded_for_a_model_that_has_to_wait_all_the_same():
    d = Driver(memory=MemoryLimit(8 * GIB))
    d.needs = {A: Memory(4 * GIB), B: Memory(GIB), C: Memory(6 * GIB)}
    a = d.load(A)
    b = d.idle(B)
    assert d.request(C) == Wait()
    assert b.is_lent
    d.release(a)
    assert d.ask(C) == Evict(b), "the one that was used first"


def test_small_models_do_not_overtake_a_large_one_for_ever():
    d = Driver(memory=MemoryLimit(8 * GIB))
    d.needs = {A: Memory(4 * GIB), B: Memory(6 * GIB), C: Memory(2 * GIB)}
    a = d.load(A)
    assert d.request(B) == Wait()
    assert d.request(C) == Wait(), "it came later"
    d.release(a)
    assert d.ask(B) == Evict(a)
    d.schedule.gone(a)
    assert isinstance(d.ask(B), Start)
    assert isinstance(d.ask(C), Start)


def test_pinned_models_that_leave_no_memory_are_named():
    d = Driver(memory=MemoryLimit(8 * GIB))
    d.needs = {A: Memory(4 * GIB), B: Memory(6 * GIB)}
    d.idle(A, pinned=True)
    with pytest.raises(Overloaded, match="pinned"):
        d.request(B)


# By model: its memory in the machine of 10 with a GPU of 6.
NEEDS = {A: Memory(2), B: Memory(1, (5,)), C: Memory(6, (2,)), D: Memory(9)}
MACHINE = MemoryLimit(10, (6,))
PINNED = (A, B)


class ScheduleMachine(RuleBasedStateMachine):
    """Any order of events keeps the promises."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        limits = PoolLimits(max_loaded=3, max_requests=12, max_waiting=8, memory=MACHINE, crash_limit=2)
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
                        assert victim.busy == 0
                        assert victim not in self.loading
                        assert victim.phase is Phase.STOPPING
                        assert not victim.pinned or victim.outdated
                        self.stopping.append(victim)
                        again = True

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

    @precondition(lambda self: self.leases)
    @rule()
    def engine_crashes(self) -> None:
        resident = self.leases[0]
        if resident.phase is Phase.READY and self.schedule.residents.get(resident.key) is resident:
            self.schedule.failed(resident, BROKEN, self.now)
            self.poll()

    @rule(name=st.sampled_from([A, B, C, D]))
    def somebody_unloads(self, name: EngineKey) -> None:
        keys = [key for key in self.schedule.residents if key.digest == name.digest]
        self.stopping.extend(self.schedule.unload(keys))
        self.poll()

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
            if resident.phase is Phase.STOPPING:
                assert resident in self.stopping
                assert resident.busy == 0

    @invariant()
    def nobody_waits_without_reason(self) -> None:
        """Whoever waits can name a load, a stop or a busy engine that will end."""
        if self.waiting:
            assert self.loading or self.stopping or self.leases

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
TestScheduleMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

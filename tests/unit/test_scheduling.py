"""Which engines live: the state machine, under a clock that stands still unless told."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mrpack.digest import Digest
from mrpack.errors import EngineFailed
from mrpack_runtime.engine import Operation
from mrpack_runtime.scheduling import (
    CrashLoop,
    EngineKey,
    Evict,
    Overloaded,
    Phase,
    PoolLimits,
    Resident,
    Schedule,
    Start,
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

    def ask(self, name: EngineKey, keep_alive_s: float | None = 300.0, *, pinned: bool = False):
        return self.schedule.decide(name, self.now, keep_alive_s=keep_alive_s, pinned=pinned)

    def request(self, name: EngineKey, keep_alive_s: float | None = 300.0, *, pinned: bool = False):
        """Enters, and stands in line while it is not served."""
        self.schedule.enter(name, self.now)
        self.schedule.join_line(name)
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
    assert d.ask(C) == Evict(a)
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


class ScheduleMachine(RuleBasedStateMachine):
    """Any order of events keeps the promises."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.schedule = Schedule(PoolLimits(max_loaded=2, max_requests=12, max_waiting=8, crash_limit=2))
        self.waiting: list[EngineKey] = []
        self.leases: list[Resident] = []
        self.loading: list[Resident] = []
        self.stopping: list[Resident] = []

    def poll(self) -> None:
        """Everyone who waits asks again, as the pool makes them do."""
        again = True
        while again:
            again = False
            for name in list(self.waiting):
                try:
                    decision = self.schedule.decide(name, self.now, keep_alive_s=5.0)
                except (Overloaded, CrashLoop):
                    self.schedule.leave_line(name)
                    self.schedule.leave()
                    self.waiting.remove(name)
                    continue
                match decision:
                    case Use(resident):
                        assert resident.phase is Phase.READY
                        self.schedule.leave_line(name)
                        self.waiting.remove(name)
                        self.leases.append(resident)
                    case Start(resident):
                        self.loading.append(resident)
                        again = True
                    case Evict(victim):
                        assert victim.busy == 0
                        assert victim.phase is Phase.STOPPING
                        self.stopping.append(victim)
                        again = True

    @rule(name=st.sampled_from([A, B, C, D]))
    def request(self, name: EngineKey) -> None:
        try:
            self.schedule.enter(name, self.now)
        except (Overloaded, CrashLoop):
            return
        self.schedule.join_line(name)
        self.waiting.append(name)
        self.poll()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def client_leaves(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(name)
        self.schedule.leave_line(name)
        self.schedule.leave()
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
        if resident.phase is Phase.READY:
            self.schedule.failed(resident, BROKEN, self.now)
            self.poll()

    @rule(seconds=st.floats(0.1, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.stopping.extend(self.schedule.expired(self.now))
        self.poll()

    @invariant()
    def the_limits_hold(self) -> None:
        residents = self.schedule.residents.values()
        assert len(residents) <= 2
        assert self.schedule.requests == len(self.waiting) + len(self.leases) <= 12
        for resident in residents:
            assert resident.busy == self.leases.count(resident)
            if resident.phase is Phase.STOPPING:
                assert resident in self.stopping

    @invariant()
    def nobody_waits_without_reason(self) -> None:
        """Whoever waits can name a load, a stop or a busy engine that will end."""
        if self.waiting:
            assert self.loading or self.stopping or self.leases


TestScheduleMachine = ScheduleMachine.TestCase
TestScheduleMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

"""Loads that are shared, engines that expire, crash loops, and settings that change."""

from __future__ import annotations

import pytest

from mrpack_runtime.scheduling import CrashLoop, Demand, Evict, Overloaded, Start, Use, Wait
from tests.unit.scheduling.schedule_driver import BROKEN, A, B, C, D, Driver, variant


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


def test_requests_for_one_model_leave_some_for_others():
    d = Driver(max_per_engine=2)
    d.request(A)
    d.load(B)
    d.request(A)
    d.schedule.enter(B, d.now)
    assert d.ask(B) == Use(d.schedule.residents[B])
    for full in (A, B):  # one loads, one serves
        with pytest.raises(Overloaded, match="one model"):
            d.schedule.enter(full, d.now)
    d.load(C)


def test_the_line_is_bounded_but_ready_engines_have_none():
    d = Driver(max_waiting=1)
    ready = d.idle(A)
    d.request(B)
    with pytest.raises(Overloaded):
        d.schedule.enter(B, d.now)
    d.schedule.enter(A, d.now)
    assert d.ask(A) == Use(ready)


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


def test_a_pinned_engine_that_crashed_comes_back_pinned_and_alone():
    d = Driver()
    first = d.idle(A, pinned=True)
    d.schedule.failed(first, BROKEN, d.now)
    assert not d.load(B).pinned
    assert d.load(A).pinned


def test_another_name_of_the_same_model_keeps_its_own_settings():
    d = Driver()
    first = d.load(variant(A, "1"))
    d.schedule.enter(variant(A, "2"), d.now)
    demand = Demand(key=variant(A, "2"), name="another")
    d.schedule.join_line(demand)
    assert isinstance(d.schedule.decide(demand, d.now), Start)
    assert first.is_lent


def test_a_pin_goes_with_the_name_when_that_means_another_model():
    d = Driver(max_loaded=1)
    former = d.idle(A, pinned=True)
    moved = d.demand(B)._replace(name=former.name)
    assert d.schedule.decide(moved, d.now) == Evict(former)
    d.schedule.gone(former)
    start = d.schedule.decide(moved, d.now)
    assert isinstance(start, Start)
    assert start.resident.pinned


def test_a_model_that_lost_its_pinned_name_serves_to_the_end_and_expires():
    d = Driver(max_loaded=2)
    former = d.load(A, keep_alive_s=5, pinned=True)
    start = d.schedule.decide(d.demand(B)._replace(name=former.name), d.now)
    assert isinstance(start, Start)
    assert former.is_lent
    d.release(former)
    d.now += 6
    assert d.schedule.expired(d.now) == (former,)

"""Who gets room, in which order, and who has to go for it."""

from __future__ import annotations

import pytest

from mrpack_runtime.machine.memory import Memory, MemoryLimit
from mrpack_runtime.scheduling import Evict, Overloaded, Phase, Start, TooLarge, Wait
from tests.unit.scheduling.schedule_driver import A, B, C, D, Driver

GIB = 2**30


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
    with pytest.raises(Overloaded, match="beside 1 pinned engine "):
        d.request(B)

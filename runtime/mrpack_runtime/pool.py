"""The pool: runs what the Schedule decides, and lends ready engines to requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from mrpack.errors import EngineFailed, MrpackError
from mrpack_runtime.engine import Launch
from mrpack_runtime.life import Life, Workshop
from mrpack_runtime.machine.memory import Memory
from mrpack_runtime.scheduling import (
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
    Wait,
    check_size,
)
from mrpack_runtime.want import Want
from mrpack_runtime.wire.upstream import Upstream

_LOG: Final = logging.getLogger(__name__)
# How long a broken connection waits for the news that its engine has died, and for its last words if it has.
_NEWS_S: Final = 2.0
_LAST_WORDS_S: Final = 30.0
# Timers may fire a clock tick early.
_TIMER_SLACK_S: Final = 0.002
_NO_MEMORY: Final = Memory()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One engine as `ps` shows it, with the memory that it was estimated to need.

    Times are Unix seconds; `launch` and below: None without a process.
    """

    key: EngineKey
    model: str
    phase: Phase
    busy: int
    pinned: bool
    since: float
    last_used: float
    keep_alive_s: float | None
    need: Memory = _NO_MEMORY
    launch: Launch | None = None
    pid: int | None = None
    load_time_s: float | None = None


class Lease:
    """A ready engine, counted as busy until `release`, or to the end of a `with` block."""

    __slots__ = ("_life", "_pool", "_released", "quirks", "served_name", "turn", "upstream")

    def __init__(self, pool: Pool, life: Life, upstream: Upstream) -> None:
        self._pool = pool
        self._life = life
        self._released = False
        self.upstream = upstream
        self.quirks = life.quirks
        self.served_name = life.served_name
        """The model's name as the engine knows it: that of the tag which was asked for first, or its own."""
        self.turn = life.turn
        """Held during an exchange when `quirks.serial`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    async def blame(self, error: EngineFailed) -> EngineFailed:
        """The reason behind a broken connection: that the engine died, when it did, with its last words."""
        life = self._life
        if not await life.ends_within(_NEWS_S) and life.process is not None and life.process.has_died():
            await life.ends_within(_LAST_WORDS_S)  # its leash takes its time
        return life.error if isinstance(life.error, EngineFailed) else error

    def release(self) -> None:
        """Idempotent."""
        if not self._released:
            self._released = True
            self._pool._release(self._life)  # noqa: SLF001  # two halves of one thing


class Pool:
    """All engines of one gateway. Belongs to one event loop."""

    def __init__(
        self,
        workshop: Workshop,
        limits: PoolLimits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workshop = workshop
        self._clock = clock
        self._schedule = Schedule(limits or PoolLimits())
        self._lives: dict[Resident, Life] = {}
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._hurried = False

    @property
    def is_draining(self) -> bool:
        return self._draining

    @property
    def waiting(self) -> int:
        """Requests that wait for an engine now."""
        return self._schedule.waiting

    def check(self, want: Want) -> None:
        """Raises TooLarge for what `acquire` can never give."""
        check_size(_demand(want), self._schedule.limits.memory)

    async def acquire(self, want: Want, *, pinned: bool = False) -> Lease:
        """A ready engine; starts one, and makes room for it, when needed. Release the lease.

        Cancelling it takes nothing from others: a load goes on even when nobody waits for it any more.

        Raises:
            Overloaded: too many requests, no room, or shutting down.
            CrashLoop: the engine keeps failing.
            EngineFailed: it did not start.
            MrpackError: as `Workshop.make`.
        """
        if self._draining:
            raise Overloaded("shutting down", retry_after_s=10.0)
        demand = _demand(want, pinned=pinned)
        now = self._clock()
        self._schedule.enter(want.key, now)
        try:
            resident = self._schedule.find_ready(demand, now)
            if resident is not None:
                return self._lend(resident)
            return await self._wait_in_line(want, demand)
        except BaseException:
            self._leave()
            raise

    def snapshot(self) -> tuple[Snapshot, ...]:
        offset = time.time() - self._clock()
        return tuple(
            Snapshot(
                key=resident.key,
                model=life.name,
                phase=resident.phase,
                busy=resident.busy,
                pinned=resident.pinned,
                since=resident.since + offset,
                last_used=resident.last_used + offset,
                keep_alive_s=resident.keep_alive_s,
                need=resident.need,
                launch=life.process.launch if life.process else None,
                pid=life.process.pid if life.process else None,
                load_time_s=life.process.load_time_s if life.process else None,
            )
            for resident, life in self._lives.items()
        )

    async def unload(self, keys: Iterable[EngineKey], *, force: bool = False) -> int:
        """Stops those that are idle, with `force` all of them; how many were stopped, once they are gone."""
        victims = self._schedule.unload(keys, force=force)
        lives = [self._lives[victim] for victim in victims]
        for life in lives:
            self._stop(life)
        for life in lives:
            await life.ended.wait()
        return len(lives)

    def hurry(self) -> None:
        """Makes `drain` wait for nobody."""
        self._hurried = True
        self._notify()

    async def drain(self, grace_s: float) -> None:
        """Takes no more requests, waits up to `grace_s` for those under way, then ends every engine.

        Requests that wait are refused at once, and what is being loaded for them ends.
        """
        self._draining = True
        self._notify()
        loading = [key for key, it in self._schedule.residents.items() if it.phase is Phase.LOADING]
        for victim in self._schedule.unload(loading, force=True):
            self._stop(self._lives[victim])
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self._schedule.requests and not self._hurried:
                    await self._change()
        if self._timer is not None:
            self._timer.cancel()
        await self.unload(tuple(self._schedule.residents), force=True)
        await asyncio.gather(*self._tasks)

    # ---- requests

    async def _wait_in_line(self, want: Want, demand: Demand) -> Lease:
        key = demand.key
        self._schedule.join_line(demand)
        deadline = asyncio.get_running_loop().time() + self._schedule.limits.wait_s
        try:
            while True:
                if self._draining:
                    raise Overloaded("shutting down", retry_after_s=10.0)
                match self._schedule.decide(demand, self._clock()):
                    case Use(resident):
                        return self._lend(resident)
                    case Start(resident):
                        self._start(resident, want)
                    case Evict(victim):
                        self._stop(self._lives[victim])
                    case Wait():
                        pass
                await self._wait_for(key, deadline)
        finally:
            self._schedule.leave_line(key)

    async def _wait_for(self, key: EngineKey, deadline: float) -> None:
        """Until the load of this model ends, which has a limit of its own, or until anything changes.

        Raises:
            Overloaded: nothing did up to `deadline`.
            MrpackError: what made the load fail.
        """
        resident = self._schedule.residents.get(key)
        if resident is None or resident.phase is not Phase.LOADING:
            try:
                async with asyncio.timeout_at(deadline):
                    await self._change()
            except TimeoutError as error:
                raise Overloaded(f"no engine was free for {self._schedule.limits.wait_s:g} s") from error
            return
        life = self._lives[resident]
        await life.settled.wait()
        if life.error is not None and not self._draining:
            raise life.error.with_traceback(None)

    def _lend(self, resident: Resident) -> Lease:
        life = self._lives[resident]
        assert life.upstream is not None  # noqa: S101  # set before it became ready
        return Lease(self, life, life.upstream)

    def _release(self, life: Life) -> None:
        self._schedule.release(life.resident, self._clock())
        due = life.resident.expires_at
        if due is not None and (self._timer is None or due < self._timer_due):
            self._set_timer()
        self._leave()

    def _leave(self) -> None:
        self._schedule.leave()
        if self._schedule.has_line or self._draining:
            self._notify()

    # ---- engines

    def _start(self, resident: Resident, want: Want) -> None:
        life = Life(resident, want)
        self._lives[resident] = life
        self._keep(asyncio.create_task(self._live(life), name=f"life of {life.name}"))

    async def _live(self, life: Life) -> None:
        try:
            await life.load(self._workshop)
        except MrpackError as error:
            life.error = error
        else:
            if life.resident.phase is Phase.LOADING:  # not to be stopped already
                self._schedule.loaded(life.resident, self._clock())
                life.settled.set()
                self._set_timer()
                self._notify()
            await life.last()
        finally:
            await self._bury(life)

    async def _bury(self, life: Life) -> None:
        life.end()
        if isinstance(life.error, EngineFailed) and life.resident.phase is not Phase.STOPPING:
            _LOG.warning("%s: %s", life.name, life.error)
            self._schedule.failed(life.resident, life.error, self._clock())
        else:
            self._schedule.gone(life.resident)
        del self._lives[life.resident]
        self._notify()
        if life.process is not None:
            await asyncio.to_thread(self._workshop.clear, life.process)

    def _stop(self, life: Life) -> None:
        """The schedule has marked it as stopping; `_live` sees it go."""
        self._keep(asyncio.create_task(life.stop()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        """The event loop holds tasks weakly."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- time and change

    def _set_timer(self) -> None:
        """One timer for the engine that expires first; when it fires too early, it is set again."""
        due = self._schedule.next_expiry()
        if due is None or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        delay = max(_TIMER_SLACK_S, due - self._clock() + _TIMER_SLACK_S)
        self._timer = asyncio.get_running_loop().call_later(delay, self._expire)

    def _expire(self) -> None:
        self._timer = None
        for victim in self._schedule.expired(self._clock()):
            _LOG.info("unloading %s: idle", self._lives[victim].name)
            self._stop(self._lives[victim])
        self._set_timer()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self) -> None:
        await self._changed.wait()


def _demand(want: Want, *, pinned: bool = False) -> Demand:
    return Demand(
        key=want.key,
        name=want.bundle.name,
        need=want.need,
        keep_alive_s=want.settings.keep_alive_s,
        pinned=pinned,
    )

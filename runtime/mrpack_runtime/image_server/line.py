"""The line: one thread paints, and a few wishes may wait for it.

A pipeline holds state while it works, so it does one thing at a time; the thread of the event loop stays
free for /health and for clients that leave.
"""

from __future__ import annotations

import logging
import math
import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from .refusal import Refusal
from .wish import Wish

_LOG: Final = logging.getLogger("image server")
# Weight of the last job in the mean time of a job.
_SMOOTHING: Final = 0.3


class Left(Exception):  # nothing failed
    """Nobody waits for this picture any more; raised out of the pipeline, between two steps."""


@dataclass(frozen=True, slots=True)
class Step:
    """`number` of `steps` is done for the image with this index; `steps` is None where it is not known."""

    image: int
    number: int
    steps: int | None


@dataclass(frozen=True, slots=True)
class Preview:
    """The image with this index, as far as it is; encoded."""

    image: int
    number: int
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Painted:
    image: int
    seed: int
    width: int
    height: int
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event of every job. `refusal` says why it is not done."""

    refusal: Refusal | None = None


Event = Step | Preview | Painted | Ended


@dataclass(eq=False)
class Job:
    """`report` is called by the painting thread, and must not block."""

    wish: Wish
    report: Callable[[Event], None]
    steps_done: int = 0
    _left: threading.Event = field(default_factory=threading.Event)

    def leave(self) -> None:
        """The client is gone. Idempotent; from any thread."""
        self._left.set()

    @property
    def has_left(self) -> bool:
        return self._left.is_set()

    def step(self, image: int, number: int, steps: int | None) -> None:
        """Raises Left when nobody waits for it."""
        self.steps_done += 1
        if self.has_left:
            raise Left
        self.report(Step(image, number, steps))


Paint = Callable[[Job], None]


@dataclass(slots=True)
class Counters:
    """What was done since the start."""

    images: int = 0
    steps: int = 0
    done: int = 0
    refused: int = 0
    cancelled: int = 0
    failed: int = 0


class Line:
    """`limit`: how many may wait while one is painted. `clock` in seconds."""

    def __init__(self, paint: Paint, limit: int, clock: Callable[[], float]) -> None:
        self._paint = paint
        self._limit = limit
        self._clock = clock
        self._waiting: deque[Job] = deque()
        self._current: Job | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._mean_s = 0.0
        self.counters = Counters()
        self._thread = threading.Thread(target=self._work, name="painter", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_busy(self) -> bool:
        return self._current is not None

    def join(self, job: Job) -> None:
        """Raises Refusal (429) when too many wait."""
        with self._changed:
            waiting = len(self._waiting) + (self._current is not None)
            if waiting > self._limit:
                self.counters.refused += 1
                raise Refusal(
                    f"{waiting} requests are under way or wait, and that is the limit",
                    status=429,
                    code="queue_full",
                    retry_after_s=max(1, math.ceil(self._mean_s)),
                )
            self._waiting.append(job)
            self._changed.notify()

    def leave(self, job: Job) -> None:
        """Its client is gone: it stops within a step, or is not even begun."""
        job.leave()
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                self.counters.cancelled += 1
                _LOG.info("cancelled while it waited")

    def close(self, timeout_s: float) -> None:
        """Ends what is under way; returns when the thread has ended, or after the time-out."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            if self._current is not None:
                self._current.leave()
            self._changed.notify()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            begin = self._clock()
            ended = self._do(job)
            with self._changed:
                self._current = None
                if ended.refusal is None:
                    took = self._clock() - begin
                    self._mean_s += (took - self._mean_s) * (_SMOOTHING if self._mean_s else 1.0)
            job.report(ended)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            self._current = self._waiting.popleft() if self._waiting else None
            return self._current

    def _do(self, job: Job) -> Ended:
        """One job; whatever a pipeline raises, the thread lives on. The log gets no word of a request."""
        count = self.counters
        refusal: Refusal | None = None
        try:
            self._paint(job)
        except Left:
            count.cancelled += 1
            _LOG.info("cancelled after %d steps", job.steps_done)
        except Refusal as error:
            count.refused += 1
            refusal = error
        except Exception as error:  # noqa: BLE001  # the main loop of this thread; pipelines raise anything
            count.failed += 1
            frames = "".join(traceback.format_tb(error.__traceback__)[-3:])
            _LOG.error("a pipeline failed: %s\n%s", type(error).__name__, frames)  # its text may quote
            refusal = failure(error)
        else:
            count.done += 1
        count.steps += job.steps_done
        return Ended(refusal)


def failure(error: BaseException) -> Refusal:
    """What a client gets to know of an error inside a pipeline."""
    if isinstance(error, ValueError):  # how pipelines refuse arguments
        return Refusal(f"the pipeline refused the request: {error}", code="pipeline_refused")
    if isinstance(error, MemoryError) or _is_out_of_memory(type(error)):
        message = "out of memory: ask for a smaller image"
        return Refusal(message, status=503, code="out_of_memory", retry_after_s=1)
    return Refusal(
        f"the pipeline failed: {type(error).__name__}: {error}", status=500, code="pipeline_failed"
    )


def _is_out_of_memory(kind: type[Any]) -> bool:
    """torch.OutOfMemoryError, which cannot be imported here."""
    return any(base.__name__ == "OutOfMemoryError" for base in kind.__mro__)

"""Filling a part file: connections write where their bytes belong, one hash follows in order."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from mrpack.content.ports import NoPartsError, Opener, PartOpener, Pouring
from mrpack.content.pouring import Poured
from mrpack.content.width import LIMIT, WINDOW_S, Width
from mrpack.digest import BUFFER_SIZE, ByteSource, Verifier
from mrpack.errors import MrpackError, RegistryUnavailable
from mrpack.store.spans import Span, SpanList

# So much at a time is hashed beside the connections: less would wake the thread up too often.
_BATCH: Final = 4 * 1024 * 1024
# The disk writes while the network sends, so that the sync at the end is short. Four times as many cost two
# seconds of system time for 2 GiB (ADR 7).
_SYNC_EVERY: Final = 512 * 1024 * 1024
# A stream that broke for good after less was tried often enough: it tries again by itself.
_PROGRESS: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is worth what, in bytes.

    Attributes:
        threads_from: below, a thread more costs more than it gains; other blobs are under way meanwhile.
        parts_from: smaller blobs come in one stream.
        least_part, most_part: Distribution reads far ahead of each range it opens, so that ranges of a few
            MiB multiply its work (docs/benchmarks.md).
        step: one write, at most; it is lost with a killed process.
        least_half: a connection without work takes half of another's, if both halves are as large. Not less
            than a step, which may be under way.
        window_s: seconds over which a rate is measured.
        width: connections to begin with.
    """

    threads_from: int = 16 * 1024 * 1024
    parts_from: int = 128 * 1024 * 1024
    least_part: int = 64 * 1024 * 1024
    most_part: int = 256 * 1024 * 1024
    step: int = 1024 * 1024
    least_half: int = 16 * 1024 * 1024
    window_s: float = WINDOW_S
    width: Width = field(default_factory=Width)

    def part_of(self, size: int) -> int:
        """How long the parts of a blob are: enough of them for four connections."""
        return min(max(size // 16, self.least_part), self.most_part)


class Receiving:
    """One fill of one part file. What is hashed is what the file holds, once, in order.

    Threads open parts, or one reads from an offset on. More connections are opened while that makes it
    faster; one that fails leaves its rest to the others, and the last one fails for all. Use it once.
    """

    def __init__(
        self,
        handle: int,
        spans: list[Span],
        verifier: Verifier,
        size: int,
        open_at: Opener,
        journal: SpanList | None,
        sizes: Sizes,
    ) -> None:
        """`spans` cover all `size` bytes, in order. With a `journal`, `open_at` has to be a PartOpener."""
        self._handle = handle
        self._spans = spans
        self._verifier = verifier
        self._size = size
        self._open_at = open_at
        self._journal = journal
        self._sizes = sizes
        self._slots = max((span.slot for span in spans), default=0) + 1
        self._changed = threading.Condition()
        self._buffer = memoryview(bytearray(min(BUFFER_SIZE, max(size, 1))))
        self._stopped = False
        self._workers = 0
        self._width = sizes.width if journal is not None else Width(settled=True)
        self._window_began = time.monotonic()
        self._window = 0
        self._unsynced = 0
        self._sync: Future[None] | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._work_done: list[Future[None]] = []

    def run(self) -> None:
        """Until all of it is here and right.

        Raises:
            IntegrityError: other bytes than announced, or fewer, or more.
            NoPartsError: the source gives no parts after all.
            OSError: of the file.
        """
        if sum(span.left for span in self._spans) < self._sizes.threads_from:
            self._workers = 1
            self._work(self._hash_what_is_there)
            self._hash_what_is_there()
        else:
            self._run_threads()
        self._verifier.finish()

    def _run_threads(self) -> None:
        with ThreadPoolExecutor(LIMIT + 1) as self._pool:
            try:
                with self._changed:
                    for _ in range(self._width.connections):
                        self._hire()
                while self._wait_for_more():
                    self._hash_what_is_there()
            finally:
                self._stopped = True
        for future in (*self._work_done, self._sync):
            if future is not None:
                future.result()

    # The hash.

    def _wait_for_more(self) -> bool:
        """False when nothing more comes."""
        with self._changed:
            while not self._stopped:
                behind = self._behind()
                if behind and (behind >= _BATCH or not self._workers):
                    return True
                if not self._workers:
                    return False
                self._changed.wait()
            return False

    def _behind(self) -> int:
        """Bytes that can be hashed now."""
        return self._frontier() - self._verifier.count

    def _frontier(self) -> int:
        """How far the file has no hole."""
        position = 0
        for span in self._spans:
            position = span.position
            if span.left:
                break
        return position

    def _hash_what_is_there(self) -> None:
        with self._changed:
            frontier = self._frontier()
        while (position := self._verifier.count) < frontier and not self._stopped:
            count = os.preadv(self._handle, [self._buffer[: frontier - position]], position)
            if not count:
                raise OSError(errno.EIO, "the part file became shorter")
            self._verifier.update(self._buffer[:count])

    # The connections.

    def _hire(self) -> None:
        """Under the lock."""
        if self._pool is not None:
            self._workers += 1
            self._work_done.append(self._pool.submit(self._work, self._tell))

    def _tell(self) -> None:
        with self._changed:
            if self._behind() >= _BATCH:
                self._changed.notify_all()

    def _work(self, landed: Callable[[], None]) -> None:
        """One connection after another, until there is nothing left to do; `landed` hears of every write."""
        failed = True
        try:
            while (span := self._next()) is not None:
                self._fill_or_leave(span, landed)
            failed = False
        finally:
            with self._changed:
                self._stopped = self._stopped or failed
                self._workers -= 1
                self._changed.notify_all()

    def _next(self) -> Span | None:
        """A span of one's own; None: go home."""
        with self._changed:
            if self._stopped or self._workers > self._width.connections:
                return None
            span = next((span for span in self._spans if span.left and not span.is_taken), None)
            span = span or self._half_of_another()
            if span is not None:
                span.is_taken = True
            return span

    def _half_of_another(self) -> Span | None:
        longest = max(self._spans, key=lambda span: span.left, default=None)
        if self._journal is None or longest is None or longest.left < 2 * self._sizes.least_half:
            return None
        middle = longest.position + longest.left // 2
        half = Span(middle, longest.stop, middle, self._slots)
        self._slots += 1
        longest.stop = middle
        self._spans.insert(self._spans.index(longest) + 1, half)
        return half

    def _fill_or_leave(self, span: Span, landed: Callable[[], None]) -> None:
        began = span.position
        try:
            self._fill(span, landed)
        except NoPartsError:
            raise
        except MrpackError as error:
            with self._changed:
                span.is_taken = False
                others = self._workers - 1
                self._width = self._width.refused(others)
                goes_on = isinstance(error, RegistryUnavailable) and span.position - began >= _PROGRESS
            if not others and not goes_on:
                raise

    def _fill(self, span: Span, landed: Callable[[], None]) -> None:
        source = self._open(span)
        pouring = source if isinstance(source, Pouring) else Poured(source)
        try:
            while (limit := self._limit(span)) > 0:
                count = pouring.pour(self._handle, span.position, limit)
                if not count:
                    self._end_early(span)
                    return
                self._land(span, count)
                landed()
            if span.stop == self._size and not self._stopped and source.readinto(memoryview(bytearray(1))):
                raise self._verifier.surplus()
        finally:
            source.close()

    def _open(self, span: Span) -> ByteSource:
        with self._changed:
            patient = self._workers == 1
            lacking = sum(span.left for span in self._spans)
            start, stop = span.position, span.stop
        if self._journal is None or not isinstance(self._open_at, PartOpener):
            return self._open_at(start)
        return self._open_at.open_part(start, stop, missing=lacking, patient=patient)

    def _limit(self, span: Span) -> int:
        with self._changed:
            return 0 if self._stopped else min(self._sizes.step, span.left)

    def _end_early(self, span: Span) -> None:
        """The source says that there is no more: what is there is hashed, and its count tells."""
        if self._journal is not None:
            raise NoPartsError(f"a part that ends at byte {span.position} instead of {span.stop}")
        span.stop = span.position

    def _land(self, span: Span, count: int) -> None:
        with self._changed:
            span.position += count
            if self._journal is not None:
                self._journal.write(span)
            self._window += count
            self._unsynced += count
            if self._pool is not None:
                self._sync_behind()
                self._widen()

    def _sync_behind(self) -> None:
        if self._unsynced < _SYNC_EVERY or self._pool is None:
            return
        if self._sync is not None:
            if not self._sync.done():
                return
            self._sync.result()
        self._unsynced = 0
        self._sync = self._pool.submit(os.fdatasync, self._handle)

    def _widen(self) -> None:
        seconds = time.monotonic() - self._window_began
        if seconds < self._sizes.window_s or self._workers != self._width.connections:
            return
        self._width = self._width.after(self._window / max(seconds, 1e-6))
        self._window, self._window_began = 0, time.monotonic()
        if self._workers < self._width.connections:
            self._hire()

"""The streams of one blob on its way from a source to a target: watched, and ended when nobody wants it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from mrpack.content.ports import PartFetcher, Pouring, Source
from mrpack.content.progress import Advanced, Report
from mrpack.content.sides import failing
from mrpack.digest import ByteSource
from mrpack.errors import MrpackError
from mrpack.oci.descriptor import Descriptor


class _StoppedError(MrpackError):
    """Ends a transfer whose copy has failed already; nobody sees it."""


class Streams:
    """An Opener of one blob; knows how much has moved, and notes the failures that are the source's own."""

    def __init__(self, source: Source, blob: Descriptor, report: Report, stop: threading.Event) -> None:
        self.broken: list[MrpackError] = []
        self._source = source
        self._blob = blob
        self._report = report
        self._stop = stop
        self._position = 0
        self._lock = threading.Lock()

    def __call__(self, offset: int) -> ByteSource:
        with self._opening():
            stream = self._source.fetch(self._blob, offset)
        self._position = offset
        return _Watched(stream, self)

    @contextmanager
    def _opening(self) -> Iterator[None]:
        with failing("source", "fetch blob", str(self._blob.digest)):
            yield

    def advance(self, count: int) -> None:
        if self._stop.is_set():
            raise _StoppedError("stopped, since another blob failed")
        with self._lock:
            self._position += count
            position = self._position
        self._report(Advanced(self._blob, position))


class PartStreams(Streams):
    """Of a source that gives parts."""

    def __init__(
        self,
        source: Source,
        parts: PartFetcher,
        blob: Descriptor,
        report: Report,
        stop: threading.Event,
    ) -> None:
        super().__init__(source, blob, report, stop)
        self._parts = parts

    def open_part(self, start: int, stop: int, *, missing: int, patient: bool) -> ByteSource:
        with self._opening():
            stream = self._parts.fetch_range(self._blob, start, stop, patient=patient)
        with self._lock:
            self._position = self._blob.size - missing
        return _Watched(stream, self)


class _Watched:
    """One of an opener's streams. It can do by the kernel what the stream itself can."""

    def __init__(self, inner: ByteSource, owner: Streams) -> None:
        self._inner = inner
        self._owner = owner
        if isinstance(inner, Pouring):
            self.pour = partial(self._pour, inner)
        fileno = getattr(inner, "fileno", None)
        if fileno is not None:
            self.fileno = fileno

    def readinto(self, buffer: memoryview, /) -> int:
        with self._noting():
            count = self._inner.readinto(buffer)
        self.advance(count)
        return count

    def _pour(self, inner: Pouring, handle: int, position: int, limit: int) -> int:
        with self._noting():
            count = inner.pour(handle, position, limit)
        self.advance(count)
        return count

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except MrpackError as error:
            self._owner.broken.append(error)
            raise

    def advance(self, count: int) -> None:
        """Bytes that went on without `readinto`, through the kernel."""
        self._owner.advance(count)

    def close(self) -> None:
        self._inner.close()

"""The one copy behind push, pull, export, import and mirror."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, wait
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Final, Literal

from mrpack.content.crew import crew
from mrpack.content.documents import read_document
from mrpack.content.ports import (
    Adopter,
    BlobPusher,
    FileBacked,
    Keeper,
    Mounter,
    NoPartsError,
    PartFetcher,
    Pouring,
    Reserver,
    Source,
    Target,
)
from mrpack.content.progress import Advanced, Finished, Outcome, Planned, Report, silent
from mrpack.digest import ByteSource
from mrpack.errors import InvalidArtifact, MrpackError, TransferError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index

# Blobs under way at once; containerd and dockerd use 3.
DEFAULT_JOBS: Final = 3
# A smaller blob is mostly waiting: for an answer, a token, a sync. Three of them do not fill a line.
_SMALL: Final = 16 * 1024 * 1024
_WORKERS_LIMIT: Final = 64
# An index may hold indexes; nobody nests deeper than two.
_DEPTH_LIMIT: Final = 4


def copy(
    source: Source,
    source_ref: str,
    target: Target,
    target_ref: str | None,
    *,
    jobs: int = DEFAULT_JOBS,
    report: Report = silent,
) -> Descriptor:
    """Bring what `source_ref` names to `target` and point `target_ref` at it; blobs first, manifest last.

    Content that is already there is not fetched; a digest that occurs twice moves once. An interrupted copy
    leaves only complete blobs, which the next one finds.

    Raises:
        TransferError: names the side, the operation and the content; carries its cause's exit code.
    """
    with _failing("source", "resolve", source_ref):
        root = source.resolve(source_ref)
    with _keeping(target, target_ref or source_ref):
        _copy_document(source, root, target, target_ref, jobs, report, depth=0)
    return root


@contextmanager
def _keeping(target: Target, name: str) -> Iterator[None]:
    """What is there counts until something refers to it, whoever collects meanwhile."""
    with ExitStack() as held:
        if isinstance(target, Keeper):
            with _failing("destination", "write to", name):
                held.enter_context(target.operation())
        yield


def _copy_document(
    source: Source,
    descriptor: Descriptor,
    target: Target,
    ref: str | None,
    jobs: int,
    report: Report,
    depth: int,
) -> None:
    if depth > _DEPTH_LIMIT:
        raise InvalidArtifact("indexes nested too deeply", where=str(descriptor.digest))
    with _failing("source", "fetch manifest", str(descriptor.digest)):
        raw, document = read_document(source, descriptor)
    if isinstance(document, Index):
        for child in document.manifests:
            _copy_document(source, child, target, None, jobs, report, depth + 1)
    else:
        if isinstance(target, Reserver):
            with _failing("destination", "make room for", ref or str(descriptor.digest)):
                target.reserve(document.blobs)
        report(Planned(document.blobs))
        copy_blobs(source, document.blobs, target, jobs, report)
    with _failing("destination", "push manifest", ref or str(descriptor.digest)):
        target.push_manifest(descriptor, raw, ref)


def copy_blobs(
    source: Source, blobs: tuple[Descriptor, ...], target: BlobPusher, jobs: int, report: Report
) -> None:
    """Largest first, so that the last worker is not left with the longest blob.

    Of blobs below 16 MiB more are under way than `jobs`, unless that is 1. When one fails, the others stop at
    their next read. An interrupt does not wait for them.
    """
    ordered = sorted(blobs, key=lambda blob: blob.size, reverse=True)
    large = deque(blob for blob in ordered if blob.size >= _SMALL)
    small = deque(blob for blob in ordered if blob.size < _SMALL)
    shares: list[tuple[deque[Descriptor], ...]] = [(large, small)] * min(jobs, len(ordered))
    shares += [(small,)] * min(2 * (jobs - 1), len(small), _WORKERS_LIMIT - jobs)

    with crew(len(shares)) as (pool, stop):
        carrier = _Carrier(source, target, report, stop)
        futures = [pool.submit(carrier.work, share) for share in shares]
        done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        stop.set()
    for future in (*done, *waiting):
        # The first failure counts: what was stopped for its sake comes later in this order.
        if not future.cancelled():
            future.result()


class _Carrier:
    """Brings blobs from one place to another, each by the shortest way that both know."""

    def __init__(self, source: Source, target: BlobPusher, report: Report, stop: threading.Event) -> None:
        """What they can do is asked once: of ten thousand small files that took a tenth of the time."""
        self._source = source
        self._target = target
        self._report = report
        self._stop = stop
        self._files = source if isinstance(source, FileBacked) else None
        self._adopter = target if isinstance(target, Adopter) else None
        self._mounter = target if isinstance(target, Mounter) else None
        self._parts = source if isinstance(source, PartFetcher) else None

    def work(self, share: tuple[deque[Descriptor], ...]) -> None:
        """One future a worker: with one a blob, ten thousand files take 13 MB more."""
        while not self._stop.is_set():
            blob = _taken(share)
            if blob is None:
                return
            self._report(Finished(blob, self._bring(blob)))

    def _bring(self, blob: Descriptor) -> Outcome:
        with _failing("destination", "look for blob", str(blob.digest)):
            if self._target.exists(blob):
                return Outcome.EXISTING
        if self._files is not None and self._adopter is not None:
            with _failing("source", "read blob", str(blob.digest)):
                path = self._files.blob_file(blob)
            if path is not None:
                with _failing("destination", "link blob", str(blob.digest)):
                    self._adopter.adopt(blob, path)
                return Outcome.LINKED
        if self._mounter is not None:
            with _failing("destination", "mount blob", str(blob.digest)):
                if self._mounter.mount(blob, self._source):
                    return Outcome.MOUNTED
        self._transfer(blob)
        return Outcome.TRANSFERRED

    def _transfer(self, blob: Descriptor) -> None:
        opener: _Opener
        if self._parts is None:
            opener = _Opener(self._source, blob, self._report, self._stop)
        else:
            opener = _PartOpener(self._source, self._parts, blob, self._report, self._stop)
        try:
            with _failing("destination", "push blob", str(blob.digest)):
                self._target.push(blob, opener)
        except TransferError as error:
            if error.cause in opener.broken:
                raise TransferError(
                    error.cause, side="source", operation="read blob", name=str(blob.digest)
                ) from error.cause
            raise


def _taken(share: tuple[deque[Descriptor], ...]) -> Descriptor | None:
    """The next blob of the first queue that has one."""
    for queue in share:
        with suppress(IndexError):
            return queue.popleft()
    return None


class _StoppedError(MrpackError):
    """Ends a transfer whose copy has failed already; nobody sees it."""


class _Opener:
    """Opens one blob; knows how much of it has moved, and notes the failures that are the source's own."""

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
        with _failing("source", "fetch blob", str(self._blob.digest)):
            yield

    def advance(self, count: int) -> None:
        if self._stop.is_set():
            raise _StoppedError("stopped, since another blob failed")
        with self._lock:
            self._position += count
            position = self._position
        self._report(Advanced(self._blob, position))


class _PartOpener(_Opener):
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

    def __init__(self, inner: ByteSource, owner: _Opener) -> None:
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


@contextmanager
def _failing(side: Literal["source", "destination"], operation: str, name: str) -> Iterator[None]:
    try:
        yield
    except (TransferError, NoPartsError):
        raise
    except MrpackError as error:
        raise TransferError(error, side=side, operation=operation, name=name) from error

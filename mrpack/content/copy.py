"""The one copy behind push, pull, export, import and mirror."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, wait
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from mrpack.content.crew import crew
from mrpack.content.documents import Read, read_document, walk_documents
from mrpack.content.ports import (
    Adopter,
    BlobPusher,
    FileBacked,
    Keeper,
    Mirrored,
    Mounter,
    PartFetcher,
    Reserver,
    Source,
    Target,
)
from mrpack.content.progress import Finished, Outcome, Planned, Report, silent
from mrpack.content.sides import failing
from mrpack.content.streams import PartStreams, Streams
from mrpack.errors import IntegrityError, TransferError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index

# Blobs under way at once; containerd and dockerd use 3.
DEFAULT_JOBS: Final = 3
# A smaller blob is mostly waiting: for an answer, a token, a sync. Three of them do not fill a line.
_SMALL: Final = 16 * 1024 * 1024
_WORKERS_LIMIT: Final = 64


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
    with failing("source", "resolve", source_ref):
        root = source.resolve(source_ref)
    with _keeping(target, target_ref or source_ref):
        for descriptor, raw, document in walk_documents(root, lambda wanted: _read(source, wanted)):
            ref = target_ref if descriptor == root else None
            name = ref or str(descriptor.digest)
            if not isinstance(document, Index):
                _copy_layers(source, document.blobs, target, name, jobs, report)
            with failing("destination", "push manifest", name):
                target.push_manifest(descriptor, raw, ref)
    return root


@contextmanager
def _keeping(target: Target, name: str) -> Iterator[None]:
    """What is there counts until something refers to it, whoever collects meanwhile."""
    with ExitStack() as held:
        if isinstance(target, Keeper):
            with failing("destination", "write to", name):
                held.enter_context(target.operation())
        yield


def _read(source: Source, descriptor: Descriptor) -> Read:
    with failing("source", "fetch manifest", str(descriptor.digest)):
        return read_document(source, descriptor)


def _copy_layers(
    source: Source, blobs: tuple[Descriptor, ...], target: Target, name: str, jobs: int, report: Report
) -> None:
    if isinstance(target, Reserver):
        with failing("destination", "make room for", name):
            target.reserve(blobs)
    report(Planned(blobs))
    copy_blobs(source, blobs, target, jobs, report)


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
        self._mirrored = source if isinstance(source, Mirrored) else None

    def work(self, share: tuple[deque[Descriptor], ...]) -> None:
        """One future a worker: with one a blob, ten thousand files take 13 MB more."""
        while not self._stop.is_set():
            blob = _taken(share)
            if blob is None:
                return
            self._report(Finished(blob, self._bring(blob)))

    def _bring(self, blob: Descriptor) -> Outcome:
        with failing("destination", "look for blob", str(blob.digest)):
            if self._target.exists(blob):
                return Outcome.EXISTING
        if self._files is not None and self._adopter is not None:
            with failing("source", "read blob", str(blob.digest)):
                path = self._files.blob_file(blob)
            if path is not None:
                with failing("destination", "link blob", str(blob.digest)):
                    self._adopter.adopt(blob, path)
                return Outcome.LINKED
        if self._mounter is not None:
            with failing("destination", "mount blob", str(blob.digest)):
                if self._mounter.mount(blob, self._source):
                    return Outcome.MOUNTED
        self._transfer(blob)
        return Outcome.TRANSFERRED

    def _transfer(self, blob: Descriptor) -> None:
        while True:
            streams = self._streams(blob)
            try:
                with failing("destination", "push blob", str(blob.digest)):
                    self._target.push(blob, streams)
            except TransferError as error:
                cause = error.cause
                is_broken = error.side == "source" or cause in streams.broken
                # Wrong bytes are noticed by whoever takes them.
                to_blame = isinstance(cause, IntegrityError) or is_broken
                if to_blame and self._mirrored is not None and self._mirrored.pass_over(blob, cause):
                    continue
                if cause in streams.broken:
                    raise TransferError(
                        cause, side="source", operation="read blob", name=str(blob.digest)
                    ) from cause
                raise
            return

    def _streams(self, blob: Descriptor) -> Streams:
        if self._parts is None:
            return Streams(self._source, blob, self._report, self._stop)
        return PartStreams(self._source, self._parts, blob, self._report, self._stop)


def _taken(share: tuple[deque[Descriptor], ...]) -> Descriptor | None:
    """The next blob of the first queue that has one."""
    for queue in share:
        with suppress(IndexError):
            return queue.popleft()
    return None

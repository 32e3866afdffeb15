"""The one copy behind push, pull, export, import and mirror."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Final, Literal

from mrpack.content.ports import Adopter, Fetcher, FileBacked, Mounter, Source, Target
from mrpack.content.progress import Advanced, Finished, Outcome, Planned, Report, silent
from mrpack.digest import ByteSource, read_verified
from mrpack.errors import InvalidArtifact, MrpackError, TransferError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import MANIFEST_LIMIT
from mrpack.oci.manifest import Index, Manifest, parse_document

# Blobs under way at once; containerd and dockerd use 3.
DEFAULT_JOBS: Final = 3
# An index may hold indexes; nobody nests deeper than two.
_DEPTH_LIMIT: Final = 4


def read_document(source: Fetcher, descriptor: Descriptor) -> tuple[bytes, Manifest | Index]:
    """Fetch, verify and parse a manifest or index (at most 4 MiB)."""
    stream = source.fetch(descriptor)
    try:
        raw = read_verified(stream, descriptor.digest, descriptor.size, limit=MANIFEST_LIMIT, name="manifest")
    finally:
        stream.close()
    return raw, parse_document(raw, descriptor.media_type, f"manifest {descriptor.digest.short}")


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
    _copy_document(source, root, target, target_ref, jobs, report, depth=0)
    return root


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
        report(Planned(document.blobs))
        _copy_blobs(source, document.blobs, target, jobs, report)
    with _failing("destination", "push manifest", ref or str(descriptor.digest)):
        target.push_manifest(descriptor, raw, ref)


def _copy_blobs(
    source: Source, blobs: tuple[Descriptor, ...], target: Target, jobs: int, report: Report
) -> None:
    """Largest first, so that the last worker is not left with the longest blob.

    When one fails, the others stop at their next read. An interrupt does not wait for them.
    """
    ordered = sorted(blobs, key=lambda blob: blob.size, reverse=True)
    stop = threading.Event()
    pool = ThreadPoolExecutor(max_workers=max(1, min(jobs, len(ordered))))
    try:
        futures = [pool.submit(_copy_blob, source, blob, target, report, stop) for blob in ordered]
        done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        stop.set()
        pool.shutdown(cancel_futures=True)
    except BaseException:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    for future in (*done, *waiting):
        # The first failure counts: what was stopped for its sake comes later in this order.
        if not future.cancelled():
            future.result()


def _copy_blob(
    source: Source, blob: Descriptor, target: Target, report: Report, stop: threading.Event
) -> None:
    with _failing("destination", "look for blob", str(blob.digest)):
        if target.exists(blob):
            report(Finished(blob, Outcome.EXISTING))
            return
    if isinstance(source, FileBacked) and isinstance(target, Adopter):
        path = source.blob_file(blob)
        if path is not None:
            with _failing("destination", "link blob", str(blob.digest)):
                target.adopt(blob, path)
            report(Finished(blob, Outcome.LINKED))
            return
    if isinstance(target, Mounter):
        with _failing("destination", "mount blob", str(blob.digest)):
            if target.mount(blob, source):
                report(Finished(blob, Outcome.MOUNTED))
                return

    broken: list[MrpackError] = []

    def open_at(offset: int) -> ByteSource:
        with _failing("source", "fetch blob", str(blob.digest)):
            return _Watched(source.fetch(blob, offset), blob, offset, report, broken, stop)

    try:
        with _failing("destination", "push blob", str(blob.digest)):
            target.push(blob, open_at)
    except TransferError as error:
        if error.cause in broken:
            raise TransferError(
                error.cause, side="source", operation="read blob", name=str(blob.digest)
            ) from error.cause
        raise
    report(Finished(blob, Outcome.TRANSFERRED))


class _StoppedError(MrpackError):
    """Ends a transfer whose copy has failed already; nobody sees it."""


class _Watched:
    """Reports the position of a stream, and notes the failures that are the source's own."""

    def __init__(
        self,
        inner: ByteSource,
        blob: Descriptor,
        position: int,
        report: Report,
        broken: list[MrpackError],
        stop: threading.Event,
    ) -> None:
        self._inner = inner
        self._blob = blob
        self._position = position
        self._report = report
        self._broken = broken
        self._stop = stop
        fileno = getattr(inner, "fileno", None)
        if fileno is not None:
            self.fileno = fileno

    def readinto(self, buffer: memoryview, /) -> int:
        try:
            count = self._inner.readinto(buffer)
        except MrpackError as error:
            self._broken.append(error)
            raise
        self.advance(count)
        return count

    def advance(self, count: int) -> None:
        """Bytes that went on without `readinto`, through the kernel."""
        if self._stop.is_set():
            raise _StoppedError("stopped, since another blob failed")
        self._position += count
        self._report(Advanced(self._blob, self._position))

    def close(self) -> None:
        self._inner.close()


@contextmanager
def _failing(side: Literal["source", "destination"], operation: str, name: str) -> Iterator[None]:
    try:
        yield
    except TransferError:
        raise
    except MrpackError as error:
        raise TransferError(error, side=side, operation=operation, name=name) from error

"""Part files: content on its way into a layout, taken up again after a broken stream or a killed process."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mrpack.content.ports import NoPartsError, Opener, PartOpener
from mrpack.digest import Digest, Verifier
from mrpack.errors import IntegrityError
from mrpack.store.durable import bytes_on_disk
from mrpack.store.locks import is_exclusive, lock
from mrpack.store.receiving import Receiving, Sizes
from mrpack.store.spans import Span, SpanList, missing


@dataclass(frozen=True, slots=True)
class Part:
    """`handle` is open for reading and writing, and locked; `resumed` bytes are there from an earlier run."""

    path: Path
    handle: int
    resumed: int

    def receive(self, digest: Digest, size: int, open_at: Opener, sizes: Sizes | None = None) -> None:
        """Fill it to the end and not further.

        A large blob comes in parts when its source gives any. When it does not after all, or the bytes are
        wrong and what an earlier run left, or a part, may be to blame: once more, as far back as it takes.

        Raises:
            IntegrityError: other bytes than announced.
        """
        sizes = sizes or Sizes()
        if size >= sizes.parts_from and isinstance(open_at, PartOpener):
            try:
                self._receive_parts(digest, size, open_at, sizes)
            except NoPartsError:
                self._drop_holes(size)
            except IntegrityError:
                os.ftruncate(self.handle, 0)
            else:
                os.ftruncate(self.handle, size)
                return
        else:
            self._drop_holes(size)
        if os.fstat(self.handle).st_size:
            try:
                self._receive_in_order(digest, size, open_at, sizes)
            except (NoPartsError, IntegrityError):
                os.ftruncate(self.handle, 0)
            else:
                return
        self._receive_in_order(digest, size, open_at, sizes)

    def is_empty(self, size: int) -> bool:
        """Whether nothing of the content is there, whatever the file's length."""
        return not SpanList(self.handle, size).read()[0]

    def _receive_parts(self, digest: Digest, size: int, open_at: PartOpener, sizes: Sizes) -> None:
        journal = SpanList(self.handle, size)
        extents, slots = journal.read()
        if not slots:
            journal.begin(extents[0][1] if extents else 0)
            slots = 1
        here = [Span(start, stop, stop, -1) for start, stop in extents]
        wanted = [
            Span(start, stop, start, slot)
            for slot, (start, stop) in enumerate(missing(extents, size, sizes.part_of(size)), slots)
        ]
        spans = sorted(here + wanted, key=lambda span: span.start)
        Receiving(self.handle, spans, Verifier(digest, size), size, open_at, journal, sizes).run()

    def _receive_in_order(self, digest: Digest, size: int, open_at: Opener, sizes: Sizes) -> None:
        span = Span(0, size, os.fstat(self.handle).st_size, 0)
        Receiving(self.handle, [span], Verifier(digest, size), size, open_at, None, sizes).run()

    def _drop_holes(self, size: int) -> None:
        """Leave what there is without a hole, from the first byte on."""
        extents, _ = SpanList(self.handle, size).read()
        first = extents[0] if extents else (0, 0)
        os.ftruncate(self.handle, first[1] if first[0] == 0 else 0)


@contextlib.contextmanager
def claimed_part(ingest: Path, digest: Digest, is_complete: Callable[[], bool]) -> Iterator[Part | None]:
    """An exclusively locked part file: the largest an earlier run left, else a new one. Raises OSError.

    Waits for whoever is writing the same blob now, so that it is fetched once; None when it is complete
    without us. Where locks keep nobody out, part files are not shared, and the blob is fetched twice.
    """
    shares = True
    while True:
        left = _largest_part(ingest, digest) if shares else None
        if is_complete():  # asked after the look at parts: one that is gone has become the blob
            yield None
            return
        path = left or ingest / f"{digest.hex}.{uuid.uuid4().hex}.part"
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if left else os.O_CREAT | os.O_EXCL)
        try:
            handle = os.open(path, flags, 0o600)
        except FileNotFoundError:
            if left is None:
                raise
            continue
        try:
            lock(handle)
            if left is not None and not is_exclusive(path):
                shares = False
            elif _is_at(handle, path):
                yield Part(path, handle, bytes_on_disk(os.fstat(handle)))
                return
        finally:
            os.close(handle)


def _largest_part(ingest: Path, digest: Digest) -> Path | None:
    found: list[tuple[int, Path]] = []
    for name in os.listdir(ingest):  # noqa: PTH208  # a pattern would be compiled for every blob
        if not (name.startswith(f"{digest.hex}.") and name.endswith(".part")):
            continue
        path = ingest / name
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                found.append((bytes_on_disk(status), path))
    return max(found)[1] if found else None


def _is_at(handle: int, path: Path) -> bool:
    """Whether `path` still names the open file: its writer may have renamed it while we waited."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False

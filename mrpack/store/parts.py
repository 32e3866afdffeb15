"""Part files: content on its way into a layout, taken up again after a broken stream or a killed process."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mrpack.content.ports import Opener
from mrpack.digest import BUFFER_SIZE, ByteSource, Digest, Verifier
from mrpack.errors import IntegrityError, RegistryUnavailable
from mrpack.store.locks import is_exclusive, lock

# A source that breaks this often in a row without a byte of progress is given up.
_BREAKS_LIMIT: Final = 5


@dataclass(frozen=True, slots=True)
class Part:
    """`handle` is open for reading and writing, and locked; `resumed` bytes are there from an earlier run."""

    path: Path
    handle: int
    resumed: int

    def receive(self, digest: Digest, size: int, open_at: Opener) -> None:
        """Fill it to the end. When what an earlier run left is wrong, once more from the first byte.

        Raises:
            IntegrityError: other bytes than announced.
        """
        try:
            self._receive(digest, size, self.resumed, open_at)
        except IntegrityError:
            if not self.resumed:
                raise
            os.ftruncate(self.handle, 0)
            self._receive(digest, size, 0, open_at)

    def _receive(self, digest: Digest, size: int, resumed: int, open_at: Opener) -> None:
        verifier = Verifier(digest, size)
        buffer = memoryview(bytearray(BUFFER_SIZE))
        os.lseek(self.handle, 0, os.SEEK_SET)
        while verifier.count < resumed:
            count = os.readv(self.handle, [buffer[: min(BUFFER_SIZE, resumed - verifier.count)]])
            if not count:
                break
            verifier.update(buffer[:count])
        breaks = 0
        while True:
            before = verifier.count
            try:
                source = open_at(verifier.count)
                try:
                    _drain(source, verifier, self.handle, buffer)
                finally:
                    source.close()
                break
            except RegistryUnavailable:
                breaks = 0 if verifier.count > before else breaks + 1
                if breaks >= _BREAKS_LIMIT:
                    raise
        verifier.finish()


def _drain(source: ByteSource, verifier: Verifier, handle: int, buffer: memoryview) -> None:
    """Hash and write until the end; a byte that is too many is never written."""
    while count := source.readinto(buffer):
        chunk = buffer[:count]
        verifier.update(chunk)
        while chunk:
            chunk = chunk[os.write(handle, chunk) :]


@contextlib.contextmanager
def claimed_part(ingest: Path, digest: Digest, is_complete: Callable[[], bool]) -> Iterator[Part | None]:
    """An exclusively locked part file: the largest an earlier run left, else a new one. Raises OSError.

    Waits for whoever is writing the same blob now, so that it is fetched once; None when that made
    `is_complete` true. Where locks keep nobody out, part files are not shared, and the blob is fetched twice.
    """
    shares = True
    while True:
        left = _largest_part(ingest, digest) if shares else None
        path = left or ingest / f"{digest.hex}.{uuid.uuid4().hex}.part"
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if left else os.O_CREAT | os.O_EXCL)
        try:
            handle = os.open(path, flags, 0o600)
        except FileNotFoundError:
            if left is None:
                raise
            continue  # its writer has just finished
        try:
            lock(handle)
            if left is not None and not is_exclusive(path):
                shares = False
            elif _is_at(handle, path):
                yield Part(path, handle, os.fstat(handle).st_size)
                return
        finally:
            os.close(handle)
        if is_complete():
            yield None
            return


def _largest_part(ingest: Path, digest: Digest) -> Path | None:
    found: list[tuple[int, Path]] = []
    for path in ingest.glob(f"{digest.hex}.*.part"):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                found.append((status.st_size, path))
    return max(found)[1] if found else None


def _is_at(handle: int, path: Path) -> bool:
    """Whether `path` still names the open file: its writer may have renamed it while we waited."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False

"""The blob folder of a layout: content-addressed, immutable, and never visible before it is verified."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mrpack.content.ports import Opener
from mrpack.digest import BUFFER_SIZE, ByteSource, Digest, Verifier
from mrpack.errors import (
    HostRefused,
    IntegrityError,
    InvalidArtifact,
    NotFound,
    RegistryUnavailable,
    from_os_error,
)
from mrpack.store.durable import Taken, make_folder, sync_folder, take

# A source that breaks this often in a row without a byte of progress is given up.
_BREAKS_LIMIT: Final = 5


class FileSource:
    """An open file as a ByteSource; `fileno` lets a sender hand it to the kernel."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def readinto(self, buffer: memoryview, /) -> int:
        return os.readv(self._handle, [buffer])

    def fileno(self) -> int:
        return self._handle

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class BlobFolder:
    """`root/blobs/<algorithm>/<hex>`, written through `root/ingest/`. Safe for threads and processes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ingest = root / "ingest"

    def path(self, digest: Digest) -> Path:
        return self._root / "blobs" / digest.algorithm / digest.hex

    def open(self, digest: Digest, size: int, offset: int = 0) -> FileSource:
        """Raises NotFound, or IntegrityError when the file cannot be what it was (size, edited in place)."""
        path = self.path(digest)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"no blob {digest} in {self._root}") from None
        except OSError as error:
            raise from_os_error(error, f"open blob {digest.short}") from error
        try:
            self._check(os.fstat(handle), digest, size)
            os.lseek(handle, offset, os.SEEK_SET)
        except BaseException:
            os.close(handle)
            raise
        return FileSource(handle)

    def has(self, digest: Digest, size: int) -> bool:
        try:
            self._check(self.path(digest).lstat(), digest, size)
        except (OSError, IntegrityError):
            return False
        return True

    def _check(self, status: os.stat_result, digest: Digest, size: int) -> None:
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            raise IntegrityError(
                f"blob {digest.short} has {status.st_size} bytes instead of {size}",
                expected=str(size),
                actual=str(status.st_size),
                hint="`mrpack verify` shows what is damaged; pull or package it again",
            )
        if status.st_mtime_ns != self._linked_mtime(digest, status.st_mtime_ns):
            raise IntegrityError(
                f"blob {digest.short} shares its file with one that was edited after packaging",
                expected=str(digest),
                hint="package the file again, or restore it",
            )

    def add(self, digest: Digest, size: int, open_at: Opener) -> None:
        """Write a blob from a stream, going on where a broken stream or a killed process stopped.

        Raises:
            IntegrityError: other bytes than announced; the part file is gone.
            HostRefused: no space; checked before the first byte where the system tells.
        """
        name = f"blob {digest.short}"
        try:
            make_folder(self._ingest)
            make_folder(self.path(digest).parent)
            with self._part(digest) as (part, handle, resumed):
                self._check_space(size - resumed, name)
                try:
                    self._receive(digest, size, handle, resumed, open_at)
                except IntegrityError:
                    if not resumed:
                        part.unlink()
                        raise
                    # The part of an earlier run may be what is wrong: once more from the first byte.
                    os.ftruncate(handle, 0)
                    try:
                        self._receive(digest, size, handle, 0, open_at)
                    except IntegrityError:
                        part.unlink()
                        raise
                os.fchmod(handle, 0o444)
                os.fsync(handle)
                part.rename(self.path(digest))
            sync_folder(self.path(digest).parent)
        except _AlreadyHereError:
            return
        except OSError as error:
            raise from_os_error(error, f"write {name}") from error

    def _receive(self, digest: Digest, size: int, handle: int, offset: int, open_at: Opener) -> None:
        verifier = Verifier(digest, size)
        buffer = memoryview(bytearray(BUFFER_SIZE))
        os.lseek(handle, 0, os.SEEK_SET)
        while verifier.count < offset:
            count = os.readv(handle, [buffer[: min(BUFFER_SIZE, offset - verifier.count)]])
            if not count:
                break
            verifier.update(buffer[:count])
        breaks = 0
        while True:
            before = verifier.count
            try:
                source = open_at(verifier.count)
                try:
                    _drain(source, verifier, handle, buffer)
                finally:
                    source.close()
                break
            except RegistryUnavailable:
                breaks = 0 if verifier.count > before else breaks + 1
                if breaks >= _BREAKS_LIMIT:
                    raise
        verifier.finish()

    @contextlib.contextmanager
    def _part(self, digest: Digest) -> Iterator[tuple[Path, int, int]]:
        """An exclusively locked part file and its length: one an earlier run left, else a new one.

        Waits for whoever is writing the same blob now, so that it is fetched once; a lock that lies costs a
        second transfer and nothing else, since names are unique and the rename is atomic.
        """
        while True:
            left = sorted(self._ingest.glob(f"{digest.hex}.*.part"))
            path = left[0] if left else self._ingest / f"{digest.hex}.{uuid.uuid4().hex}.part"
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if left else os.O_CREAT | os.O_EXCL)
            try:
                handle = os.open(path, flags, 0o600)
            except FileNotFoundError:
                continue  # its writer has just finished
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                if _is_at(handle, path):
                    yield path, handle, os.fstat(handle).st_size
                    return
            finally:
                os.close(handle)
            if self.path(digest).exists():
                raise _AlreadyHereError

    def _check_space(self, needed: int, name: str) -> None:
        status = os.statvfs(self._ingest)
        free = status.f_bavail * status.f_frsize
        if needed > free:
            raise HostRefused(
                f"write {name}: {needed} bytes needed, {free} free in {self._root}",
                hint="free some space, or set MRPACK_HOME to another disk",
            )

    def adopt(self, digest: Digest, size: int, path: Path) -> Taken:
        """Take over a file whose content is known to match. A hard link is remembered with its mtime."""
        target = self.path(digest)
        aside = self._ingest / f"{digest.hex}.{uuid.uuid4().hex}.adopted"
        try:
            make_folder(self._ingest)
            make_folder(target.parent)
            how = take(path, aside)
            try:
                self._seal_adopted(aside, digest, size, how)
                aside.rename(target)
                # rename(2) does nothing when both names are the same file already.
                aside.unlink(missing_ok=True)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
            sync_folder(target.parent)
        except OSError as error:
            raise from_os_error(error, f"adopt {path}") from error
        return how

    def _seal_adopted(self, aside: Path, digest: Digest, size: int, how: Taken) -> None:
        handle = os.open(aside, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(handle)
            if status.st_size != size:
                raise IntegrityError(
                    f"{aside.name}: {status.st_size} bytes instead of {size}",
                    expected=str(size),
                    actual=str(status.st_size),
                    hint="the file changed while it was packaged; repeat",
                )
            os.fsync(handle)
            if how is not Taken.HARD_LINK:
                os.fchmod(handle, 0o444)
        finally:
            os.close(handle)
        if how is Taken.HARD_LINK:
            self._remember_link(digest, status.st_mtime_ns)

    def _link_note(self, digest: Digest) -> Path:
        return self._root / "linked" / f"{digest.hex}.json"

    def _remember_link(self, digest: Digest, mtime_ns: int) -> None:
        """A cheap tripwire: whoever edits the user's file in place moves its mtime."""
        note = self._link_note(digest)
        make_folder(note.parent)
        note.write_bytes(json.dumps({"mtime_ns": mtime_ns}).encode())

    def _linked_mtime(self, digest: Digest, default: int) -> int:
        try:
            note = json.loads(self._link_note(digest).read_bytes())
        except (OSError, ValueError):
            return default
        value = note.get("mtime_ns") if isinstance(note, dict) else None
        return value if isinstance(value, int) else default

    def remove(self, digest: Digest) -> None:
        """Idempotent. Only `gc` and `repair` call it, under the exclusive lock."""
        self.path(digest).unlink(missing_ok=True)
        self._link_note(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[tuple[Digest, os.stat_result]]:
        """Every file under a digest's name, unverified; foreign names are passed over."""
        for algorithm in ("sha256", "sha512"):
            folder = self._root / "blobs" / algorithm
            if not folder.is_dir():
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(InvalidArtifact, FileNotFoundError):
                        yield Digest.parse(f"{algorithm}:{entry.name}"), entry.stat(follow_symlinks=False)

    def leftovers(self) -> Iterator[Path]:
        """Part files of operations that no longer run."""
        if not self._ingest.is_dir():
            return
        for path in sorted(self._ingest.iterdir()):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield path
            except BlockingIOError:
                continue
            finally:
                os.close(handle)


class _AlreadyHereError(Exception):
    """Another process finished the blob while we waited for its part file."""


def _is_at(handle: int, path: Path) -> bool:
    """Whether `path` still names the open file: its writer may have renamed it while we waited."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _drain(source: ByteSource, verifier: Verifier, handle: int, buffer: memoryview) -> None:
    """Hash and write until the end; a byte that is too many is never written."""
    while count := source.readinto(buffer):
        chunk = buffer[:count]
        verifier.update(chunk)
        while chunk:
            chunk = chunk[os.write(handle, chunk) :]

"""The blob folder of a layout: content-addressed, immutable, and never visible before it is verified."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mrpack.content.ports import Opener
from mrpack.digest import Digest
from mrpack.errors import (
    HostRefused,
    IntegrityError,
    InvalidArtifact,
    MrpackError,
    NotFound,
    from_os_error,
)
from mrpack.readable import FileSource
from mrpack.store.durable import Taken, bytes_on_disk, make_folder, sync_folder, take
from mrpack.store.linked import LinkNotes
from mrpack.store.locks import lock

if TYPE_CHECKING:
    from mrpack.store.receiving import Sizes

# A pipe that somebody planted must not make us wait for its other end.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ALGORITHMS: Final = ("sha256", "sha512")
# The folder may be the store's, or one that the user named.
_NO_SPACE: Final = "free some space, or take another disk: for the store, MRPACK_HOME"


class BlobFolder:
    """`root/blobs/<algorithm>/<hex>`, written through `root/ingest/`. Safe for threads and processes.

    What is visible has its right bytes, on disk. Its name survives a power loss after `sync_names`, which
    comes before anything points to it.
    """

    def __init__(self, root: Path, sizes: Sizes | None = None) -> None:
        self._root = root
        self._sizes = sizes
        self.ingest_folder = root / "ingest"
        self._links = LinkNotes(root, self.ingest_folder)

    def path(self, digest: Digest) -> Path:
        return self._root / "blobs" / digest.algorithm / digest.hex

    def open(self, digest: Digest, size: int, offset: int = 0) -> FileSource:
        """Raises NotFound, or IntegrityError when the file cannot be what it was (size, edited in place)."""
        path = self.path(digest)
        try:
            handle = os.open(path, _READ)
        except FileNotFoundError:
            raise NotFound(f"no blob {digest} in {self._root}", hint="pull or package it again") from None
        except OSError as error:
            raise from_os_error(error, f"open blob {digest.short}") from error
        try:
            self._check(os.fstat(handle), digest, size)
            os.lseek(handle, offset, os.SEEK_SET)
        except BaseException:
            os.close(handle)
            raise
        return FileSource(handle, f"blob {digest.short}")

    def size(self, digest: Digest) -> int:
        """In bytes, for who knows the digest alone. Raises NotFound, also for what was edited in place."""
        try:
            status = self.path(digest).lstat()
            self._check(status, digest, status.st_size)
        except (OSError, IntegrityError):
            raise NotFound(f"no blob {digest} in {self._root}") from None
        return status.st_size

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
        if self._links.is_edited(digest, status):
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
        from mrpack.store.parts import claimed_part  # noqa: PLC0415  # most commands receive nothing

        name = f"blob {digest.short}"
        try:
            self._prepare(digest)
            with claimed_part(self.ingest_folder, digest, lambda: self.has(digest, size)) as part:
                if part is None:
                    return
                try:
                    self.check_space(size - part.resumed, name)
                    part.receive(digest, size, open_at, self._sizes)
                    self.settle(part.path, part.handle, digest)
                except (MrpackError, OSError) as error:
                    # Wrong bytes; or the disk failed, and nobody knows which of them it took; or none at all.
                    is_spoiled = isinstance(error, IntegrityError | OSError)
                    if is_spoiled or part.is_empty(size):
                        part.path.unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise self._failed(error, f"write {name}", size) from error

    def _prepare(self, digest: Digest) -> None:
        """The folders that a blob goes through, before its bytes come. Raises OSError, also of two disks."""
        folder = self.path(digest).parent
        make_folder(self.ingest_folder)
        make_folder(folder)
        if folder.stat().st_dev != self.ingest_folder.stat().st_dev:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def settle(self, part: Path, handle: int, digest: Digest) -> None:
        """Seal a part file whose content was verified, and give it its name. Raises OSError."""
        target = self.path(digest)
        make_folder(target.parent)
        os.fchmod(handle, 0o444)
        os.fsync(handle)
        part.rename(target)

    def sync_names(self) -> None:
        """Make all blobs there are survive a power loss. Raises OSError."""
        blobs = self._root / "blobs"
        for folder in (*(blobs / algorithm for algorithm in _ALGORITHMS), blobs, self._root):
            if folder.is_dir():
                sync_folder(folder)

    def check_space(self, needed: int, name: str) -> None:
        """Raises HostRefused when `needed` bytes do not fit; the ingest folder has to be there."""
        status = os.statvfs(self.ingest_folder)
        free = status.f_bavail * status.f_frsize
        if needed > free:
            raise HostRefused(
                f"write {name}: {needed} bytes needed, {free} free in {self._root}",
                hint=_NO_SPACE,
            )

    def _failed(self, error: OSError, doing: str, needed: int) -> MrpackError:
        """Of a full disk people hear what was needed: `check_space` cannot see quotas and other writers."""
        if error.errno == errno.EXDEV:
            return HostRefused(
                f"{doing}: {self._root} lies on several disks, and no file moves at once from one to another",
                hint="put the whole folder on one, with a link in its place",
            )
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            return from_os_error(error, doing)
        return HostRefused(
            f"{doing}: no space left for {needed} bytes in {self._root}",
            hint=_NO_SPACE,
        )

    def adopt(self, digest: Digest, size: int, path: Path) -> Taken:
        """Take over a file whose content is known to match. A hard link is remembered with its mtime."""
        target = self.path(digest)
        aside = self.ingest_folder / f"{digest.hex}.{uuid.uuid4().hex}.adopted"
        try:
            self._prepare(digest)
            before = path.stat()
            how = take(path, aside)
            try:
                after = self._seal_adopted(aside, digest, how)
                if after.st_size != size or path.stat().st_mtime_ns != before.st_mtime_ns:
                    raise IntegrityError(
                        f"{path} changed while it was packaged",
                        expected=str(size),
                        actual=str(after.st_size),
                        hint="repeat",
                    )
                aside.rename(target)
            finally:
                # Also after rename(2), which does nothing when both names are the same file already.
                aside.unlink(missing_ok=True)
        except OSError as error:
            raise self._failed(error, f"adopt {path}", size) from error
        return how

    def _seal_adopted(self, aside: Path, digest: Digest, how: Taken) -> os.stat_result:
        handle = os.open(aside, _READ)
        try:
            os.fsync(handle)
            if how is not Taken.HARD_LINK:
                os.fchmod(handle, 0o444)
            status = os.fstat(handle)
        finally:
            os.close(handle)
        if how is Taken.HARD_LINK:
            self._links.write(digest, status)
        return status

    def remove(self, digest: Digest) -> None:
        """Idempotent. Only under the exclusive lock. Raises OSError."""
        path = self.path(digest)
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            path.unlink()
            self._links.remove(digest, status)

    def sweep_notes(self) -> None:
        """Forget links that are no more, and were not forgotten. As `remove`."""
        self._links.sweep(self._status)

    def _status(self, hex_: str) -> os.stat_result | None:
        """None when there is no such blob."""
        for algorithm in _ALGORITHMS:
            with contextlib.suppress(FileNotFoundError):
                return (self._root / "blobs" / algorithm / hex_).lstat()
        return None

    def digests(self) -> Iterator[tuple[Digest, os.stat_result]]:
        """Every file under a digest's name, unverified; foreign names are passed over."""
        for algorithm in _ALGORITHMS:
            folder = self._root / "blobs" / algorithm
            if not folder.is_dir():
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(InvalidArtifact, FileNotFoundError):
                        yield Digest.parse(f"{algorithm}:{entry.name}"), entry.stat(follow_symlinks=False)

    def names(self) -> set[str]:
        """Of all blobs there are, in hex digits alone; what they hold is not looked at."""
        found: set[str] = set()
        for algorithm in _ALGORITHMS:
            with contextlib.suppress(OSError):
                found.update(os.listdir(self._root / "blobs" / algorithm))  # noqa: PTH208  # names alone
        return found

    def any(self) -> bool:
        """Raises HostRefused."""
        try:
            return any(True for _ in self.digests())
        except OSError as error:
            raise from_os_error(error, "list blobs") from error

    def leftovers(self) -> Iterator[tuple[Path, int]]:
        """Files of operations that no longer run, and their sizes; each is locked until the next is taken."""
        if not self.ingest_folder.is_dir():
            return
        for path in sorted(self.ingest_folder.iterdir()):
            try:
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode):
                    continue
                handle = os.open(path, _READ)
            except (FileNotFoundError, PermissionError):
                continue  # finished just now, or another user's
            try:
                if lock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB):
                    yield path, bytes_on_disk(status)
            finally:
                os.close(handle)

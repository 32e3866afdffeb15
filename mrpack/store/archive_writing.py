"""An image layout being written as one tar: places are set aside in order, and filled in any."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from mrpack.content.pouring import write_at
from mrpack.digest import BUFFER_SIZE, ByteSource, Digest, Verifier
from mrpack.errors import HostRefused
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index
from mrpack.store.archive_reading import INDEX_NAME, Region
from mrpack.store.durable import sync_folder
from mrpack.store.locks import lock
from mrpack.store.marks import LAYOUT
from mrpack.store.tar_members import BlobHeaders, archive_size, header, padded

# What file systems without nameless files answer to O_TMPFILE.
_NO_NAMELESS: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
# By which a nameless file gets its name.
_HANDLES: Final = Path("/proc/self/fd")


class ArchiveFile:
    """The file beside its final name, or without any name where the system can; a killed process leaves none.

    Deterministic: the same places in the same order give the same bytes. One thread reserves and finishes;
    several may fill. Every method raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside: Path | None = None
        self.handle = self._create()
        self._end = 0
        self.places: dict[Digest, Region] = {}
        self.filled: set[Digest] = set()
        self._headers = BlobHeaders()
        self._member(LAYOUT.name, LAYOUT.content)

    def _create(self) -> int:
        for left in self._path.parent.glob(f"{self._prefix}*.part"):
            _drop_if_dead(left)
        handle = self._open_nameless()
        if handle is None:
            self._aside = self._new_name()
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(self._aside, flags, 0o666)
        lock(handle)  # whoever finds it under a name sees that it is alive
        return handle

    def _open_nameless(self) -> int | None:
        """None where the system has no such files, or no way to name them in the end."""
        folder = self._path.parent
        if not hasattr(os, "O_TMPFILE") or not _HANDLES.is_dir():
            return None
        try:
            return os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno not in _NO_NAMELESS or not folder.is_dir():
                raise
            return None

    @property
    def _prefix(self) -> str:
        """Of names that are the same file's in the making; its own may be as long as a name can be."""
        return f".mrpack-{Digest.of(os.fsencode(self._path.name)).short}-"

    def _new_name(self) -> Path:
        return self._path.with_name(f"{self._prefix}{uuid.uuid4().hex}.part")

    def reserve(self, digest: Digest, size: int) -> Region:
        """The place of a blob; the same again when it has one of this size. Raises HostRefused: no space."""
        known = self.places.get(digest)
        if known is not None and known.size == size:
            return known
        status = os.fstatvfs(self.handle)
        if size > status.f_bavail * status.f_frsize:
            raise HostRefused(
                f"write {self._path}: {size} bytes needed, {status.f_bavail * status.f_frsize} free",
                hint="free some space, or write to another disk",
            )
        region = self._place(self._headers.of(digest, size), size)
        self.places[digest] = region
        self.filled.discard(digest)
        return region

    def fill(self, digest: Digest, source: ByteSource) -> None:
        """Verified on the way. Raises IntegrityError; then the place stays empty."""
        region = self.places[digest]
        verifier = Verifier(digest, region.size)
        buffer = memoryview(bytearray(BUFFER_SIZE))
        while count := source.readinto(buffer):
            position = region.offset + verifier.count
            verifier.update(buffer[:count])
            write_at(self.handle, buffer[:count], position)
        verifier.finish()
        self.filled.add(digest)

    def take_over(self, other: ArchiveFile) -> None:
        """Everything that is complete in `other`, in its order."""
        for digest, region in other.places.items():
            if digest in other.filled:
                place = self.reserve(digest, region.size)
                _copy_range(other.handle, region, self.handle, place.offset)
                self.filled.add(digest)

    @property
    def has_gaps(self) -> bool:
        return len(self.filled) != len(self.places)

    def finish(self, entries: Sequence[Descriptor]) -> None:
        """Write the index, and put the file under its final name, synced. Nothing is added after that."""
        self._member(INDEX_NAME, Index.build(entries).raw)
        os.ftruncate(self.handle, archive_size(self._end))
        os.fsync(self.handle)
        aside = self._aside or self._new_name()
        try:
            if self._aside is None:
                _give_name(self.handle, aside)
            aside.replace(self._path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        self._aside = None
        sync_folder(self._path.parent)

    def drop_name(self) -> None:
        """What was not finished goes when the handle is closed, whoever still writes to it. Idempotent."""
        if self._aside is not None:
            self._aside.unlink(missing_ok=True)

    def close(self) -> None:
        """Idempotent; drops what was not finished."""
        if self.handle >= 0:
            self.drop_name()
            os.close(self.handle)
            self.handle = -1

    def _member(self, name: str, content: bytes) -> None:
        region = self._place(header(name, len(content)), len(content))
        write_at(self.handle, memoryview(content), region.offset)

    def _place(self, heading: bytes, size: int) -> Region:
        write_at(self.handle, memoryview(heading), self._end)
        region = Region(self._end + len(heading), size)
        self._end = region.offset + padded(size)
        os.ftruncate(self.handle, self._end)
        return region


def _give_name(handle: int, path: Path) -> None:
    """To a nameless file, as open(2) says for who has no privileges."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Python follows the link in /proc only when a folder is given.
        os.link(_HANDLES / str(handle), path.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _drop_if_dead(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError, PermissionError), _opened(path) as handle:
        if lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _copy_range(source: int, region: Region, target: int, offset: int) -> None:
    done = 0
    while done < region.size:
        block = memoryview(os.pread(source, min(BUFFER_SIZE, region.size - done), region.offset + done))
        if not block:
            raise OSError(errno.EIO, "a file of ours became shorter")
        write_at(target, block, offset + done)
        done += len(block)

"""An OCI image layout in one tar file as a target: read where its blobs lie, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

from mrpack.content.ports import Opener
from mrpack.content.referrers import find_referrers
from mrpack.digest import ByteSource, BytesSource, Digest
from mrpack.errors import HostRefused, NotFound, from_os_error
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import parse_document
from mrpack.store.archive_reading import Contents, Region, RegionSource, read_contents
from mrpack.store.archive_writing import ArchiveFile
from mrpack.store.entries import REF_NAME, describe_document, find_digest, find_entry, names_in


class ArchiveSource:
    """The reading half: an archive that somebody wrote. Thread-safe; nothing is unpacked."""

    def __init__(self, path: Path, name: str = "") -> None:
        """`name`: what errors call it, if not by its path.

        Raises NotFound, InvalidArtifact, Unsupported, HostRefused.
        """
        self.name = name or str(path)
        try:
            # A pipe that somebody planted must not make us wait for its other end.
            self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            weakref.finalize(self, os.close, self._handle)
            self._contents: Contents = read_contents(self._handle, self.name)
        except OSError as error:
            raise from_os_error(error, f"open {self.name}") from error

    @property
    def entries(self) -> tuple[Descriptor, ...]:
        """As its index lists them; what has a name has it under `REF_NAME`."""
        return self._contents.index.manifests

    def tags(self) -> list[str]:
        return names_in(self.entries)

    def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
        return find_referrers(self, self.entries, subject, artifact_type)

    def resolve(self, ref: str) -> Descriptor:
        found = find_entry(self.entries, ref)
        if found is not None:
            return found
        digest = find_digest(ref)
        region = self._contents.blobs.get(digest) if digest else None
        if digest is None or region is None:
            raise NotFound(f"no {ref!r} in {self.name}")
        return describe_document(RegionSource(self._handle, region, self.name), digest, region.size)

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> ByteSource:
        region = self._contents.blobs.get(descriptor.digest)
        if region is None:
            raise NotFound(f"no blob {descriptor.digest} in {self.name}")
        return _opened(self._handle, region, offset, self.name)


class OciArchive:
    """Writes an archive; whatever has its name stays as it is until the new one is complete.

    That is when a reference is given: `push_manifest` with one, or `tag`. Content that is added after that
    makes one more complete file. Blobs lie in the order in which they were announced by `reserve`, else
    pushed, so one copy gives the same bytes each time. Thread-safe.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is written yet. Raises HostRefused: `path` is there and no file that could be replaced."""
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise HostRefused(f"{path} is {kind}", hint="name the file to write")
        self.path = path
        self._changed = threading.Condition()
        self._file: ArchiveFile | None = None
        self._is_finished = False
        self._busy: set[Digest] = set()
        self._entries: tuple[Descriptor, ...] = ()

    @contextlib.contextmanager
    def operation(self) -> Iterator[None]:
        """An interrupt inside ends the process: then no file stays where one in the making needs a name."""
        try:
            yield
        except Exception:
            raise
        except BaseException:
            if self._file is not None:
                self._file.drop_name()
            raise

    def reserve(self, blobs: Sequence[Descriptor]) -> None:
        """Set places aside, in this order."""
        with self._changed, self._writing() as file:
            for blob in blobs:
                file.reserve(blob.digest, blob.size)

    def push(self, descriptor: Descriptor, open_at: Opener) -> None:
        digest = descriptor.digest
        with self._changed:
            self._changed.wait_for(lambda: digest not in self._busy)
            if self.exists(descriptor):
                return
            with self._writing() as file:
                file.reserve(digest, descriptor.size)
            self._busy.add(digest)
        try:
            with self._failing(), contextlib.closing(open_at(0)) as source:
                file.fill(digest, source)
        finally:
            with self._changed:
                self._busy.discard(digest)
                self._changed.notify_all()

    def push_manifest(self, descriptor: Descriptor, raw: bytes, ref: str | None) -> None:
        self.push(descriptor, lambda offset: BytesSource(raw[offset:]))
        if ref is not None:
            self.tag(descriptor, ref)
        elif parse_document(raw, descriptor.media_type, str(descriptor.digest)).subject is not None:
            # A referrer has no name; it goes out with the next that has one.
            with self._changed:
                kept = [entry for entry in self._entries if entry.digest != descriptor.digest]
                self._entries = (*kept, descriptor.plain())

    def tag(self, descriptor: Descriptor, ref: str) -> None:
        if not self.exists(descriptor):
            raise NotFound(f"no manifest {descriptor.digest} for {self.path}")
        entry = descriptor.plain().with_annotations({REF_NAME: ref})
        with self._changed:
            self._changed.wait_for(lambda: not self._busy)
            kept = [item for item in self._entries if item.annotations.get(REF_NAME) != ref]
            entries = (*kept, entry)
            if entries == self._entries and self._is_finished:
                return
            with self._writing() as file:
                complete = self._without_gaps(file)
                complete.finish(entries)
            self._entries = entries
            self._is_finished = True

    def exists(self, descriptor: Descriptor) -> bool:
        return self._region(descriptor.digest, descriptor.size) is not None

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> ByteSource:
        with self._changed:
            region = self._region(descriptor.digest, descriptor.size)
            if region is None or self._file is None:
                raise NotFound(f"no blob {descriptor.digest} for {self.path}")
            return _opened(self._file.handle, region, offset, str(self.path))

    def resolve(self, ref: str) -> Descriptor:
        with self._changed:
            found = find_entry(self._entries, ref)
            if found is not None:
                return found
            digest = find_digest(ref)
            if digest is None or self._file is None or digest not in self._file.filled:
                raise NotFound(f"no {ref!r} in {self.path}")
            region = self._file.places[digest]
            source = RegionSource(self._file.handle, region, str(self.path))
            return describe_document(source, digest, region.size)

    def tags(self) -> list[str]:
        return names_in(self._entries)

    def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
        return find_referrers(self, self._entries, subject, artifact_type)

    def _region(self, digest: Digest, size: int) -> Region | None:
        if self._file is None or digest not in self._file.filled:
            return None
        region = self._file.places[digest]
        return region if region.size == size else None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[ArchiveFile]:
        """A file that still can be added to. With the lock held."""
        with self._failing():
            if self._file is None:
                self._replace(ArchiveFile(self.path))
            elif self._is_finished:
                self._changed.wait_for(lambda: not self._busy)
                if self._is_finished:
                    self._copied(self._file)
                    self._is_finished = False
            yield self._current()

    def _without_gaps(self, file: ArchiveFile) -> ArchiveFile:
        """A blob that was announced and never came would leave its place to chance."""
        return self._copied(file) if file.has_gaps else file

    def _copied(self, file: ArchiveFile) -> ArchiveFile:
        fresh = ArchiveFile(self.path)
        try:
            fresh.take_over(file)
        except BaseException:
            fresh.close()
            raise
        self._replace(fresh)
        file.close()
        return fresh

    def _replace(self, file: ArchiveFile) -> None:
        self._file = file
        weakref.finalize(self, file.close)

    def _current(self) -> ArchiveFile:
        assert self._file is not None  # noqa: S101  # for the type checker: `_writing` has just made one
        return self._file

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise from_os_error(error, f"write {self.path}") from error


def _opened(handle: int, region: Region, offset: int, where: str) -> RegionSource:
    source = RegionSource(handle, region, where)
    source.skip(offset)
    return source

"""An OCI image layout on disk as a target: blobs, `index.json`, and references in its annotations."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path

from mrpack.content.ports import Opener
from mrpack.content.referrers import find_referrers
from mrpack.digest import ByteSource, BytesSource, Digest
from mrpack.errors import HostRefused, IntegrityError, NotFound, StoreBusy, from_os_error
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index, parse_document
from mrpack.store.blobs import BlobFolder
from mrpack.store.durable import make_folder, sync_folder
from mrpack.store.entries import REF_NAME, describe_document, find_digest, find_entry, names_in
from mrpack.store.index_file import REPAIR, IndexFile
from mrpack.store.locks import locked
from mrpack.store.marks import LAYOUT, STORE
from mrpack.store.sightings import sightings
from mrpack.store.verifying import verify_stream


class OciLayout:
    """A folder that skopeo, oras and umoci read too. Safe for threads and processes.

    Reading takes no lock and writes nothing, so that a read-only folder can be read. `create=False` refuses a
    folder that is not a layout yet; `lenient`, for `repair`, takes one that was a layout.
    """

    def __init__(self, root: Path, *, create: bool = True, lenient: bool = False) -> None:
        self.root = root
        self.blobs = BlobFolder(root)
        self._index = IndexFile(root, self.blobs.ingest_folder)
        self._sightings: dict[str, dict[Digest, str]] = {}
        if not create and not (root / LAYOUT.name).is_file():
            raise NotFound(f"{root} is not an OCI image layout: no oci-layout file")
        for mark in (LAYOUT, STORE):
            mark.is_on(root, lenient=lenient)

    def prepare(self) -> None:
        """Make the folder a layout. Idempotent; every writing call does it first."""
        try:
            if (self.root / LAYOUT.name).is_file() and self._index.path.is_file():
                return
            make_folder(self.blobs.ingest_folder)
            with locked(self.root / ".lock"):
                if not LAYOUT.is_on(self.root):
                    LAYOUT.write(self.root, ingest=self.blobs.ingest_folder)
                # Who made any of this may have been killed before it was on disk.
                for folder in (self.root, *self.root.parents):
                    with contextlib.suppress(PermissionError):
                        sync_folder(folder)
                if not self._index.path.is_file():
                    self._index.replace(self.index())
        except OSError as error:
            raise from_os_error(error, f"create layout {self.root}") from error

    @property
    def index_path(self) -> Path:
        """The file whose replacement tells that a name may mean something else."""
        return self._index.path

    def index(self) -> Index:
        """Raises IntegrityError when there are blobs and no index, which no crash of ours brings about."""
        found = self._index.read()
        if found is not None:
            return found
        if self.blobs.any():
            raise IntegrityError(f"{self._index.path} is gone", hint=REPAIR)
        return Index.build(())

    def last_index(self) -> Index | None:
        """The index as mrpack wrote it last, whatever became of it."""
        return self._index.read_copy()

    def update(self, change: Callable[[tuple[Descriptor, ...]], Sequence[Descriptor]]) -> None:
        """Replace the entries of the index under its lock; `change` is called once with the current ones.

        Then they are on disk, and before that all blobs are.
        """
        self.prepare()
        try:
            with locked(self.root / ".lock"):
                index = self.index()
                entries = tuple(change(index.manifests))
                self.blobs.sync_names()
                if entries != index.manifests:
                    self._index.replace(Index.build(entries, index.annotations))
        except OSError as error:
            raise from_os_error(error, "write index") from error

    def keep_entries(self, live: Container[Digest]) -> None:
        """Drop the entries of other manifests. Inside `collecting`."""
        if any(entry.digest not in live for entry in self.entries):
            self.update(lambda entries: [entry for entry in entries if entry.digest in live])

    def restore(self, entries: Sequence[Descriptor] | None) -> None:
        """Make a damaged folder a layout again, with these entries if any are given. Inside `alone`."""
        try:
            with locked(self.root / ".lock"):
                LAYOUT.write(self.root, ingest=self.blobs.ingest_folder)
                self.blobs.sync_names()
                if entries is not None:
                    self._index.replace(Index.build(entries))
        except OSError as error:
            raise from_os_error(error, f"restore layout {self.root}") from error

    def drop_leftovers(self) -> None:
        """Remove what operations that no longer run have left. Inside `alone`. Raises OSError."""
        with locked(self.root / ".lock"):  # no index is being written
            for path, _ in self.blobs.leftovers():
                path.unlink(missing_ok=True)
            self.blobs.sweep_notes()

    # The port.

    def resolve(self, ref: str) -> Descriptor:
        found = find_entry(self.entries, ref)
        if found is not None:
            return found
        digest = find_digest(ref)
        if digest is None:
            raise NotFound(f"no {ref!r} in {self.root}")
        size = self.blobs.size(digest)
        return describe_document(self.blobs.open(digest, size), digest, size)

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> ByteSource:
        return self.blobs.open(descriptor.digest, descriptor.size, offset)

    def exists(self, descriptor: Descriptor) -> bool:
        return self.blobs.has(descriptor.digest, descriptor.size)

    def push(self, descriptor: Descriptor, open_at: Opener) -> None:
        self.prepare()
        self.blobs.add(descriptor.digest, descriptor.size, open_at)

    def push_manifest(self, descriptor: Descriptor, raw: bytes, ref: str | None) -> None:
        if not self.exists(descriptor):
            self.push(descriptor, lambda offset: BytesSource(raw[offset:]))
        if ref is not None:
            self.tag(descriptor, ref)
        elif parse_document(raw, descriptor.media_type, str(descriptor.digest)).subject is not None:
            # What belongs to another manifest needs no name; without an entry nobody would find it.
            self.update(lambda entries: [*_other_than(entries, descriptor), descriptor.plain()])

    def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
        return find_referrers(self, self.entries, subject, artifact_type)

    def tag(self, descriptor: Descriptor, ref: str) -> None:
        """Raises IntegrityError when `ref` ends in the digest of something else."""
        named = ref.rpartition("@")[2] if "@" in ref else str(descriptor.digest)
        if named != str(descriptor.digest):
            raise IntegrityError(
                f"{descriptor.digest} cannot be called {ref}",
                expected=named,
                actual=str(descriptor.digest),
                hint="leave the digest out of the name",
            )
        if not self.exists(descriptor):
            raise NotFound(f"no manifest {descriptor.digest} in {self.root}")
        entry = descriptor.plain().with_annotations({REF_NAME: ref})
        self.update(lambda entries: [*_without(entries, ref), entry])

    def untag(self, ref: str) -> None:
        """Idempotent; content stays until `gc`."""
        self.update(lambda entries: list(_without(entries, ref)))

    @property
    def entries(self) -> tuple[Descriptor, ...]:
        """As its index lists them now; what has a name has it under `REF_NAME`."""
        return self.index().manifests

    def tags(self) -> list[str]:
        return names_in(self.entries)

    def blob_file(self, descriptor: Descriptor) -> Path | None:
        """Hashed again now: a layout may come from anywhere, and who takes a file does not read it."""
        try:
            verify_stream(self.fetch(descriptor), descriptor)
        except (NotFound, IntegrityError):
            return None
        return self.blobs.path(descriptor.digest)

    def seen_in(self, descriptor: Descriptor, registry: str) -> str | None:
        """By the names there were when this registry was asked about first."""
        if registry not in self._sightings:
            self._sightings[registry] = sightings(self, registry, REF_NAME)
        return self._sightings[registry].get(descriptor.digest)

    def adopt(self, descriptor: Descriptor, path: Path) -> None:
        self.prepare()
        self.blobs.adopt(descriptor.digest, descriptor.size, path)

    # Keeping content alive while it is not yet named.

    @contextlib.contextmanager
    def operation(self) -> Iterator[None]:
        """Bracket for writers: content without a reference is not collected while one is open.

        Raises IntegrityError, InvalidArtifact: the index is broken, which is better known before a download.
        At its end HostRefused: somebody removed the folder, and with it what was written.
        """
        self.prepare()
        with contextlib.ExitStack() as held:
            self._lock_content(held, shared=True)
            self.index()
            with _staying(self.root):
                yield

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Bracket for who reads for long: nothing is collected meanwhile. Works on a read-only disk too."""
        with contextlib.ExitStack() as held:
            with contextlib.suppress(HostRefused, NotFound):
                self._lock_content(held, shared=True)
            yield

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Bracket for removing content, as `alone`, in a layout that is sound or new."""
        self.prepare()
        with self.alone():
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else writes, and what the index says is on disk.

        Raises StoreBusy when an operation is running.
        """
        with contextlib.ExitStack() as held:
            if not self._lock_content(held, shared=False):
                raise StoreBusy(
                    f"another mrpack is writing to {self.root}", hint="repeat when it has finished"
                )
            yield

    def _lock_content(self, held: contextlib.ExitStack, *, shared: bool) -> bool:
        try:
            if not held.enter_context(locked(self.root / ".gc-lock", shared=shared, wait=shared)):
                return False
            if not shared:
                # A process may have been killed between writing the index and syncing it.
                sync_folder(self.root)
        except OSError as error:
            raise from_os_error(error, f"lock {self.root}") from error
        return True


@contextlib.contextmanager
def _staying(root: Path) -> Iterator[None]:
    """Raises HostRefused at the end when `root` is not the folder that it was."""
    try:
        # No other folder gets the inode of an open one.
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise from_os_error(error, f"open {root}") from error
    try:
        yield
        try:
            stays = os.path.samestat(os.fstat(handle), root.stat())
        except OSError:
            stays = False
        if not stays:
            raise HostRefused(f"{root} was removed while it was written to", hint="repeat")
    finally:
        os.close(handle)


def _other_than(entries: Sequence[Descriptor], unnamed: Descriptor) -> Iterator[Descriptor]:
    """All but the nameless entry for the same manifest."""
    return (entry for entry in entries if entry.digest != unnamed.digest or REF_NAME in entry.annotations)


def _without(entries: Sequence[Descriptor], ref: str) -> Iterator[Descriptor]:
    return (entry for entry in entries if entry.annotations.get(REF_NAME) != ref)

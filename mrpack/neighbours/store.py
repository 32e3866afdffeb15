"""A folder in which another tool keeps models: manifests by name, blobs by digest. It is never written to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from mrpack.digest import ByteSource, BytesSource, Digest, Verifier
from mrpack.errors import IntegrityError, InvalidArtifact, MrpackError, NotFound, from_os_error
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import MANIFEST_LIMIT
from mrpack.oci.manifest import Manifest
from mrpack.oci.reference import Reference, ReferenceDefaults
from mrpack.readable import FileSource
from mrpack.store.durable import read_plain
from mrpack.store.entries import find_digest
from mrpack.store.verifying import verify_stream

_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class Neighbour(Protocol):
    """Where one tool keeps its models, and how they lie there.

    `prefix` is what people write before the colon, `tool` its name in messages. `variable` of the environment
    names the folder; without it the first of `folders` (with `~`) that is there counts. `defaults` complete a
    short name as the tool does.
    """

    prefix: str
    tool: str
    variable: str
    folders: Sequence[str]
    defaults: ReferenceDefaults

    def manifests(self, root: Path) -> Iterator[tuple[Reference, Path]]:
        """The names there are, and the file that each leads to. The first of equal names counts.

        Raises OSError, InvalidArtifact.
        """
        ...

    def read_manifest(self, root: Path, path: Path) -> bytes:
        """A manifest's very bytes. Raises OSError, InvalidArtifact, IntegrityError, Unsupported."""
        ...

    def blob(self, root: Path, digest: Digest) -> Path:
        """Where that content lies if it is there."""
        ...


class NeighbourStore:
    """The reading half of the port over such a folder; references in full or as the tool shortens them.

    What changes there while it is read shows as NotFound or IntegrityError. Thread-safe.
    """

    def __init__(self, neighbour: Neighbour, root: Path | None = None) -> None:
        self._neighbour = neighbour
        self._root = root or _usual_folder(neighbour)
        self._manifests: dict[Digest, bytes] = {}

    def resolve(self, ref: str) -> Descriptor:
        """`ref`: a name, a name with a digest, or a digest alone."""
        digest = find_digest(ref)
        wanted = None if digest else Reference.parse(ref, self._neighbour.defaults)
        names = self._names()
        for name, path in names:
            if wanted is not None:
                tag = wanted.tag or name.tag
                if (name.name, name.tag) != (wanted.name, tag):
                    continue
                digest = wanted.digest
            try:
                found = self._read(path).descriptor
            except MrpackError:
                if wanted is None:
                    continue  # it may well be another
                raise
            if digest in {None, found.digest}:
                return found
        offer = sorted({name.familiar(self._neighbour.defaults) for name, _ in names})
        raise NotFound(
            f"{self._neighbour.tool} has no such model in {self._root}",
            hint=f"it has {', '.join(offer)[:300]}" if offer else "it has none",
        )

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> ByteSource:
        known = self._manifests.get(descriptor.digest)
        if known is not None:
            return BytesSource(known[offset:])
        try:
            handle = os.open(self._blob(descriptor.digest), _READ)
        except FileNotFoundError:
            raise NotFound(
                f"{self._neighbour.tool} has no blob {descriptor.digest}", hint=self._again
            ) from None
        except OSError as error:
            raise from_os_error(error, f"open blob {descriptor.digest.short}") from error
        try:
            self._check(os.fstat(handle), descriptor)
            os.lseek(handle, offset, os.SEEK_SET)
        except BaseException:
            os.close(handle)
            raise
        return FileSource(handle, f"blob {descriptor.digest.short}")

    def _check(self, status: os.stat_result, descriptor: Descriptor) -> None:
        if not stat.S_ISREG(status.st_mode) or status.st_size != descriptor.size:
            raise IntegrityError(
                f"blob {descriptor.digest.short} of {self._neighbour.tool} has {status.st_size} bytes",
                expected=str(descriptor.size),
                actual=str(status.st_size),
                hint=self._again,
            )

    def blob_file(self, descriptor: Descriptor) -> Path | None:
        """Hashed now: who takes the file does not read it. Raises IntegrityError."""
        try:
            verify_stream(self.fetch(descriptor), descriptor)
        except NotFound:
            return None
        except IntegrityError as error:
            error.hint = self._again
            raise
        return None if descriptor.digest in self._manifests else self._blob(descriptor.digest)

    def tags(self) -> list[str]:
        return sorted({str(name) for name, _ in self._names()})

    @property
    def _again(self) -> str:
        return f"pull the model again with {self._neighbour.tool}"

    def _blob(self, digest: Digest) -> Path:
        return self._neighbour.blob(self._root, digest)

    def _names(self) -> list[tuple[Reference, Path]]:
        try:
            return list(self._neighbour.manifests(self._root))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise from_os_error(error, f"read the models of {self._neighbour.tool}") from error
        except InvalidArtifact as error:
            error.hint = f"repeat: {self._neighbour.tool} may be writing it just now"
            raise

    def _read(self, path: Path) -> Manifest:
        try:
            raw = self._neighbour.read_manifest(self._root, path)
            manifest = Manifest.parse(raw, str(path))
        except OSError as error:
            raise from_os_error(error, f"read a manifest of {self._neighbour.tool}") from error
        except (InvalidArtifact, IntegrityError) as error:
            error.hint = error.hint or self._again
            raise
        self._manifests[manifest.descriptor.digest] = raw
        return manifest


def _usual_folder(neighbour: Neighbour) -> Path:
    """Raises NotFound, HostRefused."""
    folders = [Path(folder).expanduser() for folder in neighbour.folders]
    hidden: OSError | None = None
    for folder in folders:
        try:
            if folder.is_dir():
                return folder
        except OSError as error:  # that of a service may be closed to others
            hidden = error
    if hidden is not None:
        raise from_os_error(hidden, f"look for models of {neighbour.tool}") from hidden
    raise NotFound(
        f"no models of {neighbour.tool} in {' or '.join(map(str, folders))}",
        hint=f"{neighbour.variable} names another folder",
    )


def read_document(path: Path) -> bytes:
    """A manifest or list of names, through links. Raises OSError, InvalidArtifact above 4 MiB."""
    raw = read_plain(Path(os.path.realpath(path)), MANIFEST_LIMIT)
    if len(raw) > MANIFEST_LIMIT:
        raise InvalidArtifact(f"more than the limit of {MANIFEST_LIMIT} bytes", where=str(path))
    return raw


def read_named(path: Path, digest: Digest) -> bytes:
    """As `read_document`, of one that lies under its digest. Raises IntegrityError too."""
    raw = read_document(path)
    verifier = Verifier(digest, len(raw), str(path))
    verifier.update(raw)
    verifier.finish()
    return raw

"""The port through which all content moves: fetch, push, exists, resolve, tag.

Memory, the local store, an OCI layout, an archive and a registry are targets; push, pull, export, import and
mirror are one `copy` between two of them. Optional abilities are separate Protocols, found by `isinstance`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from mrpack.digest import ByteSource
from mrpack.errors import MrpackError, RegistryUnavailable
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest

Opener = Callable[[int], ByteSource]
"""Opens the same content again at a byte offset, so that a writer can go on after a broken connection."""


class NoPartsError(RegistryUnavailable):
    """This source does not give the part that it was asked for; from its first byte on it may."""


@runtime_checkable
class PartOpener(Protocol):
    """An Opener that can also open a part; several may be open at once, in threads of their own."""

    def __call__(self, offset: int, /) -> ByteSource: ...

    def open_part(self, start: int, stop: int, *, missing: int, patient: bool) -> ByteSource:
        """The bytes from `start` up to `stop`, exclusive.

        `missing`: bytes of the whole that the writer lacks now, for whoever watches. `patient` is as in
        `PartFetcher`.

        Raises NoPartsError, and what `Fetcher.fetch` raises.
        """
        ...


@runtime_checkable
class Pouring(Protocol):
    """A ByteSource that can put its bytes into a file by itself, past this process where that is possible."""

    def pour(self, handle: int, position: int, limit: int) -> int:
        """Write the next bytes, at most `limit`, at `position` of the open file; how many, 0 at the end.

        Raises OSError of the file; what `readinto` raises, otherwise.
        """
        ...


class Fetcher(Protocol):
    def fetch(self, descriptor: Descriptor, offset: int = 0) -> ByteSource:
        """The content from byte `offset` on; the caller closes it.

        The bytes are NOT verified: read them through `VerifyingReader`, `read_verified`, or push them.

        Raises:
            NotFound: this target has no such content.
            RegistryUnavailable, HostRefused: it could not be opened; reading may raise these too.
        """
        ...


class Resolver(Protocol):
    def resolve(self, ref: str) -> Descriptor:
        """The manifest or index that `ref` (a tag or digest in this target's own form) names now.

        Its digest was computed here from the bytes, never taken from a header.

        Raises:
            NotFound: no such reference.
        """
        ...


class BlobPusher(Protocol):
    def exists(self, descriptor: Descriptor) -> bool:
        """Whether the content is complete here. Never raises NotFound."""
        ...

    def push(self, descriptor: Descriptor, open_at: Opener) -> None:
        """Take over a blob. Idempotent; atomic for readers: they see all of it or nothing.

        Without an error the content is here and has the descriptor's size and digest. On disk its bytes are
        synced, and its name before anything points to it.
        The pusher opens the source, may open it again at another offset, and closes what it opened.

        Raises:
            IntegrityError: the source gave other bytes; nothing stays visible.
        """
        ...


class Pusher(BlobPusher, Protocol):
    def push_manifest(self, descriptor: Descriptor, raw: bytes, ref: str | None) -> None:
        """Keep a manifest or index, and point `ref` at it when one is given. All it names is here already.

        `raw` matches `descriptor`; idempotent; atomic: readers of `ref` see the old or the new one.
        """
        ...


class Tagger(Protocol):
    def tag(self, descriptor: Descriptor, ref: str) -> None:
        """Point `ref` at a manifest that is already here. Atomic, idempotent."""
        ...


class Source(Fetcher, Resolver, Protocol):
    """What `copy` reads from."""


class Target(Fetcher, Resolver, Pusher, Tagger, Protocol):
    """What `copy` writes to; every target is a source too."""


@runtime_checkable
class PartFetcher(Protocol):
    """A source that gives parts of a blob, on as many connections as it is asked for."""

    def fetch_range(
        self, descriptor: Descriptor, start: int, stop: int, *, patient: bool = True
    ) -> ByteSource:
        """The bytes from `start` up to `stop`, exclusive; not verified. `patient`: try again after failures.

        Raises NoPartsError, now or at any read, and what `Fetcher.fetch` raises.
        """
        ...


@runtime_checkable
class FileBacked(Protocol):
    """A source whose blobs are local files with content that is known to match."""

    def blob_file(self, descriptor: Descriptor) -> Path | None:
        """The file that holds exactly this content, or None. It stays valid while the source is in use.

        May raise IntegrityError when it holds something else.
        """
        ...


@runtime_checkable
class Adopter(Protocol):
    """A target that can take over a local file without moving its bytes through this process."""

    def adopt(self, descriptor: Descriptor, path: Path) -> None:
        """Take `path`, whose content the caller vouches for, by reflink, hard link or in-kernel copy.

        Same promises as `push`. Never changes or moves the file.
        """
        ...


@runtime_checkable
class Keeper(Protocol):
    """A target from which content without a reference may be collected."""

    def operation(self) -> AbstractContextManager[None]:
        """While it is open, nothing is collected. May be opened within itself; ends with the process."""
        ...


@runtime_checkable
class Mirrored(Protocol):
    """A source that reads from copies of itself first."""

    def pass_over(self, descriptor: Descriptor, failure: MrpackError) -> bool:
        """Whoever gave of this content failed so: other bytes, or not all. They are not asked again.

        False: there is nobody else to ask. So it is true once a copy, at most.
        """
        ...


@runtime_checkable
class Sighted(Protocol):
    """A source that can guess where else its content is."""

    def seen_in(self, descriptor: Descriptor, registry: str) -> str | None:
        """A repository of `registry` that should have this blob. Never raises."""
        ...


@runtime_checkable
class Mounter(Protocol):
    """A target that can take a blob from elsewhere on its own side."""

    def mount(self, descriptor: Descriptor, source: Source) -> bool:
        """True when the blob is here now without a transfer; False when it has to be pushed."""
        ...


@runtime_checkable
class Composed(Protocol):
    """A source that was put together in memory."""

    def composed(self, descriptor: Descriptor) -> Manifest | None:
        """The manifest of that digest, when it was made here; it need not be fetched and parsed again."""
        ...


@runtime_checkable
class Reserver(Protocol):
    """A target in which content has places, which are set aside before it comes."""

    def reserve(self, blobs: Sequence[Descriptor]) -> None:
        """These will be pushed next, in any order, as far as they are not here. Idempotent.

        Raises:
            HostRefused: there is no space for them.
        """
        ...


@runtime_checkable
class Referring(Protocol):
    """A target that knows which manifests belong to another: signatures, bills of materials, reports.

    Such a manifest says so itself (`subject`). `push_manifest` of it, also without a reference, is enough.
    """

    def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
        """Each with its artifact type and annotations, sorted by digest; empty when nobody refers to it.

        `subject` itself need not be here (distribution-spec 1.1, "Listing Referrers").
        """
        ...

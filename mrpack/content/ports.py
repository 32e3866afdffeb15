"""The port through which all content moves: fetch, push, exists, resolve, tag.

Memory, the local store, an OCI layout, an archive and a registry are targets; push, pull, export, import and
mirror are one `copy` between two of them. Optional abilities are separate Protocols, found by `isinstance`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from mrpack.digest import ByteSource
from mrpack.oci.descriptor import Descriptor

Opener = Callable[[int], ByteSource]
"""Opens the same content again at a byte offset, so that a writer can go on after a broken connection."""


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


class Pusher(Protocol):
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
class FileBacked(Protocol):
    """A source whose blobs are local files with content that is known to match."""

    def blob_file(self, descriptor: Descriptor) -> Path | None:
        """The file that holds exactly this content, or None. It stays valid while the source is in use."""
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
class Mounter(Protocol):
    """A target that can take a blob from elsewhere on its own side."""

    def mount(self, descriptor: Descriptor, source: Source) -> bool:
        """True when the blob is here now without a transfer; False when it has to be pushed."""
        ...


@runtime_checkable
class Lister(Protocol):
    def tags(self) -> list[str]:
        """All references of this target, sorted."""
        ...

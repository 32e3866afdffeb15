"""What a layout holds, as clients see it: manifests by repository, referrers, what is in use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final, TypeVar

from mrpack.content.documents import NESTING_LIMIT, read_document
from mrpack.digest import Digest
from mrpack.distribution.names import Names, Naming
from mrpack.errors import IntegrityError, MrpackError, NotFound
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index, Manifest
from mrpack.oci.mediatypes import INDEXES
from mrpack.store.checkup import closure
from mrpack.store.entries import describe_document
from mrpack.store.layout import OciLayout

_T = TypeVar("_T")

# Entries of each cache, and bytes of a document that is worth one.
_CACHE_LIMIT: Final = 20_000
_CACHED_SIZE: Final = 32 * 1024


class Catalog:
    """Reads a layout that other processes may change meanwhile. Thread-safe.

    Content is there by its digest in every repository; so a manifest whose tag has moved on stays until `gc`
    takes it. Tags belong to a repository, and so do referrers that have a name.
    """

    def __init__(self, layout: OciLayout, naming: Naming) -> None:
        self.layout = layout
        self.naming = naming
        self._lock = threading.Lock()
        self._names: tuple[tuple[int, int, int], Names] | None = None
        # Content never changes under a digest.
        self._children: dict[Digest, tuple[Descriptor, ...]] = {}
        self._references: dict[Digest, tuple[Digest, Descriptor] | None] = {}

    def names(self) -> Names:
        """As of now; parsed again only when the index was replaced."""
        try:
            status = self.layout.index_path.stat()
            state = (status.st_ino, status.st_mtime_ns, status.st_size)
        except FileNotFoundError:
            state = (0, 0, 0)
        with self._lock:
            if self._names is None or self._names[0] != state:
                self._names = (state, Names(self.layout.index().manifests, self.naming))
            return self._names[1]

    def by_tag(self, repository: str, tag: str, registry: str | None = None) -> Descriptor:
        """Raises NotFound."""
        return self.names().find(repository, tag, registry)

    def by_digest(self, digest: Digest) -> Descriptor:
        """Raises NotFound, also when that content is no manifest or is damaged."""
        blobs = self.layout.blobs
        size = blobs.size(digest)
        try:
            return describe_document(blobs.open(digest, size), digest, size)
        except IntegrityError:
            raise NotFound(f"{digest} is damaged") from None

    def _manifests(self, repository: str) -> Iterator[Descriptor]:
        names = self.names()
        roots = [model.manifest for model in names.models(repository)] + names.unnamed
        seen: set[Digest] = set()
        for root in roots:
            yield from self._walk(root, seen, depth=0)

    def _walk(self, manifest: Descriptor, seen: set[Digest], depth: int) -> Iterator[Descriptor]:
        if manifest.digest in seen or depth > NESTING_LIMIT:
            return
        seen.add(manifest.digest)
        yield manifest
        for child in self._children_of(manifest):
            yield from self._walk(child, seen, depth + 1)

    def _children_of(self, manifest: Descriptor) -> tuple[Descriptor, ...]:
        if manifest.media_type not in INDEXES:
            return ()
        known = self._children.get(manifest.digest)
        if known is None:
            try:
                _, document = read_document(self.layout, manifest)
            except MrpackError:
                return ()  # damaged, or gone since
            known = (
                tuple(child.plain() for child in document.manifests) if isinstance(document, Index) else ()
            )
            _keep(self._children, manifest, known)
        return known

    def referrers(self, repository: str, subject: Digest) -> list[Descriptor]:
        """Manifests with that subject, described as distribution-spec 1.1 wants them, sorted."""
        found = []
        for manifest in self._manifests(repository):
            reference = self._reference_of(manifest)
            if reference is not None and reference[0] == subject:
                found.append(reference[1])
        return sorted(found, key=lambda descriptor: descriptor.digest)

    def _reference_of(self, manifest: Descriptor) -> tuple[Digest, Descriptor] | None:
        """The subject of a manifest, and how a list of referrers describes it."""
        if manifest.digest in self._references:
            return self._references.get(manifest.digest)
        try:
            _, document = read_document(self.layout, manifest)
        except MrpackError:
            return None
        reference = None
        if document.subject is not None:
            config = document.config.media_type if isinstance(document, Manifest) else None
            described = Descriptor(
                media_type=document.media_type,
                digest=manifest.digest,
                size=manifest.size,
                artifact_type=document.artifact_type or config,
                annotations=document.annotations,
            )
            reference = (document.subject.digest, described)
        _keep(self._references, manifest, reference)
        return reference

    def needed(self) -> set[Digest]:
        """All content that an entry of the index leads to.

        Raises when a manifest cannot be read: what it names must not be taken for unused.
        """
        found: set[Digest] = set()
        for entry in {entry.digest: entry for entry in self.layout.index().manifests}.values():
            found.update(closure(self.layout, entry))
        return found


def _keep(cache: dict[Digest, _T], manifest: Descriptor, value: _T) -> None:
    """Bounded; simply emptied when it is full."""
    if manifest.size > _CACHED_SIZE:
        return
    if len(cache) >= _CACHE_LIMIT:
        cache.clear()
    cache[manifest.digest] = value

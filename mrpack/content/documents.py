"""Fetching a manifest or an index, verified and parsed; and all that an index leads to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from mrpack.content.ports import Composed, Fetcher
from mrpack.digest import Digest, read_verified
from mrpack.errors import InvalidArtifact
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import MANIFEST_LIMIT
from mrpack.oci.manifest import Index, Manifest, parse_document

# An index may hold indexes; nobody nests deeper than two.
NESTING_LIMIT: Final = 4

Read = tuple[bytes, Manifest | Index]
"""A document's own bytes, and what they say."""


def read_document(source: Fetcher, descriptor: Descriptor) -> Read:
    """Fetch, verify and parse a manifest or index (at most 4 MiB)."""
    composed = source.composed(descriptor) if isinstance(source, Composed) else None
    if composed is not None:
        return composed.raw, composed
    stream = source.fetch(descriptor)
    try:
        raw = read_verified(stream, descriptor.digest, descriptor.size, limit=MANIFEST_LIMIT, name="manifest")
    finally:
        stream.close()
    return raw, parse_document(raw, descriptor.media_type, f"manifest {descriptor.digest.short}")


def walk_documents(
    root: Descriptor, read: Callable[[Descriptor], Read]
) -> Iterator[tuple[Descriptor, bytes, Manifest | Index]]:
    """`root` and all manifests that it leads to, each once, however often it is named; an index comes last.

    Raises InvalidArtifact: indexes nested too deeply; and what `read` raises.
    """
    seen: set[tuple[Digest, str, int]] = set()

    def walk(descriptor: Descriptor, depth: int) -> Iterator[tuple[Descriptor, bytes, Manifest | Index]]:
        # With the type and the size: who announces it otherwise is wrong, and told so by `read`.
        announced = (descriptor.digest, descriptor.media_type, descriptor.size)
        if announced in seen:
            return
        if depth > NESTING_LIMIT:
            raise InvalidArtifact("indexes nested too deeply", where=str(descriptor.digest))
        seen.add(announced)
        raw, document = read(descriptor)
        for child in document.manifests if isinstance(document, Index) else ():
            yield from walk(child, depth + 1)
        yield descriptor, raw, document

    return walk(root, 0)

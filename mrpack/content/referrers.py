"""Manifests that belong to another one: how lists show them, and finding them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mrpack.content.documents import read_document
from mrpack.content.ports import Fetcher
from mrpack.errors import MrpackError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index, Manifest

# A report may be signed, and its signature countersigned; who has more goes in circles.
DEPTH_LIMIT: Final = 4


def describe_referrer(document: Manifest | Index, raw_descriptor: Descriptor) -> Descriptor:
    """As lists of referrers show it: with its type, or else its config's, and its annotations."""
    config = document.config.media_type if isinstance(document, Manifest) else None
    return Descriptor(
        media_type=document.media_type,
        digest=raw_descriptor.digest,
        size=raw_descriptor.size,
        artifact_type=document.artifact_type or config,
        annotations=document.annotations,
    )


def of_type(referrers: Iterable[Descriptor], artifact_type: str | None) -> list[Descriptor]:
    """Sorted by digest, each once; all types for None."""
    found = {item.digest: item for item in referrers if artifact_type in {None, item.artifact_type}}
    return sorted(found.values(), key=lambda item: item.digest)


def find_referrers(
    content: Fetcher, roots: Iterable[Descriptor], subject: Descriptor, artifact_type: str | None
) -> list[Descriptor]:
    """By reading every manifest from `roots` on, through indexes; what cannot be read refers to nothing."""
    found: list[Descriptor] = []
    seen = set()
    waiting = [(root, 0) for root in roots]
    while waiting:
        manifest, depth = waiting.pop()
        if manifest.digest in seen or depth > DEPTH_LIMIT:
            continue
        seen.add(manifest.digest)
        try:
            _, document = read_document(content, manifest)
        except MrpackError:
            continue
        if isinstance(document, Index):
            waiting += [(child, depth + 1) for child in document.manifests]
        if document.subject is not None and document.subject.digest == subject.digest:
            found.append(describe_referrer(document, manifest))
    return of_type(found, artifact_type)

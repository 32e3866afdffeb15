"""Fetching a manifest or an index, verified and parsed."""

from __future__ import annotations

from mrpack.content.ports import Composed, Fetcher
from mrpack.digest import read_verified
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import MANIFEST_LIMIT
from mrpack.oci.manifest import Index, Manifest, parse_document


def read_document(source: Fetcher, descriptor: Descriptor) -> tuple[bytes, Manifest | Index]:
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

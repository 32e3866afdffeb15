"""What a name or a digest means in an image layout: an entry of its index, or a manifest that has none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Final

from mrpack.digest import ByteSource, Digest, read_verified
from mrpack.errors import InvalidArtifact, NotFound
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import MANIFEST_LIMIT
from mrpack.oci.manifest import parse_unannounced

# image-spec, "Pre-Defined Annotation Keys".
REF_NAME: Final = "org.opencontainers.image.ref.name"


def find_entry(entries: Iterable[Descriptor], ref: str) -> Descriptor | None:
    """The first that `ref` names or is the digest of, without its annotations."""
    for entry in entries:
        if ref in (entry.annotations.get(REF_NAME), str(entry.digest)):
            return entry.plain()
    return None


def names_in(entries: Iterable[Descriptor]) -> list[str]:
    return sorted(ref for entry in entries if (ref := entry.annotations.get(REF_NAME)))


def find_digest(ref: str) -> Digest | None:
    """None for what is a name."""
    try:
        return Digest.parse(ref)
    except InvalidArtifact:
        return None


def describe_document(source: ByteSource, digest: Digest, size: int) -> Descriptor:
    """Of a manifest or index that no entry lists: a part of an index, say. Closes `source`.

    Raises:
        NotFound: it is neither.
        IntegrityError: it is not what its digest says.
    """
    with contextlib.closing(source):
        if size <= MANIFEST_LIMIT:
            raw = read_verified(source, digest, size, limit=MANIFEST_LIMIT)
            with contextlib.suppress(InvalidArtifact):
                document = parse_unannounced(raw, str(digest))
                return Descriptor(media_type=document.media_type, digest=digest, size=size)
    raise NotFound(f"{digest} is no manifest")

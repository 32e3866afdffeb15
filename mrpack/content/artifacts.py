"""Reading the model artifact that a manifest, or an index with one among its manifests, is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from mrpack.content.documents import read_document
from mrpack.content.ports import Fetcher, Mirrored
from mrpack.digest import read_verified
from mrpack.errors import InvalidArtifact, MrpackError
from mrpack.model.indexes import choose_manifest
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import CONFIG_LIMIT
from mrpack.oci.manifest import Index

if TYPE_CHECKING:
    from mrpack.model.artifact import ModelArtifact

_DEPTH_LIMIT: Final = 4


def read_model(source: Fetcher, manifest: Descriptor, name: str = "") -> ModelArtifact:
    """Manifest and config, whatever the dialect; no layer is read. `name` is the reference, for errors.

    Raises:
        Unsupported: no model artifact, or an index in which nothing tells which manifest is the model.
        InvalidArtifact, IntegrityError, NotFound: a document is malformed, damaged or missing.
    """
    from mrpack.model.dialects import read_artifact  # noqa: PLC0415  # 15 ms, and most lists read none

    for _ in range(_DEPTH_LIMIT):
        _, document = read_document(source, manifest)
        if not isinstance(document, Index):
            config = read_small(source, document.config, CONFIG_LIMIT)
            return read_artifact(document, config)
        manifest = choose_manifest(document, name or str(manifest.digest))
    raise InvalidArtifact("indexes nested too deeply", where=name or str(manifest.digest))


def read_small(source: Fetcher, blob: Descriptor, limit: int) -> bytes:
    """A verified blob of at most `limit` bytes."""
    try:
        with contextlib.closing(source.fetch(blob)) as stream:
            return read_verified(stream, blob.digest, blob.size, limit=limit)
    except MrpackError as failure:
        if isinstance(source, Mirrored) and source.pass_over(blob, failure):
            return read_small(source, blob, limit)
        raise

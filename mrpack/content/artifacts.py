"""Reading the model artifact that a manifest, or an index with one among its manifests, is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from mrpack.content.documents import NESTING_LIMIT, read_document
from mrpack.content.ports import Fetcher, Mirrored
from mrpack.digest import read_verified
from mrpack.errors import HostRefused, InvalidArtifact, MrpackError
from mrpack.model.indexes import choose_manifest
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import CONFIG_LIMIT
from mrpack.oci.manifest import Index

if TYPE_CHECKING:
    from mrpack.model.artifact import ModelArtifact

_T = TypeVar("_T")


def read_model(source: Fetcher, manifest: Descriptor, name: str = "") -> ModelArtifact:
    """Manifest and config, whatever the dialect; no layer is read. `name` is the reference, for errors.

    Raises:
        Unsupported: no model artifact, or an index in which nothing tells which manifest is the model.
        InvalidArtifact, IntegrityError, NotFound: a document is malformed, damaged or missing.
    """
    from mrpack.model.dialects import read_artifact  # noqa: PLC0415  # 15 ms, and most lists read none

    for _ in range(NESTING_LIMIT + 1):
        _, document = read_document(source, manifest)
        if not isinstance(document, Index):
            config = read_small(source, document.config, CONFIG_LIMIT)
            return read_artifact(document, config)
        manifest = choose_manifest(document, name or str(manifest.digest))
    raise InvalidArtifact("indexes nested too deeply", where=name or str(manifest.digest))


def read_small(source: Fetcher, blob: Descriptor, limit: int) -> bytes:
    """A verified blob of at most `limit` bytes."""

    def read() -> bytes:
        with contextlib.closing(source.fetch(blob)) as stream:
            return read_verified(stream, blob.digest, blob.size, limit=limit)

    return from_whoever_is_right(source, blob, read)


def from_whoever_is_right(source: Fetcher, blob: Descriptor, read: Callable[[], _T]) -> _T:
    """What `read` makes of a blob of `source`; once more when a mirror of it gave what ended in an error."""
    while True:
        try:
            return read()
        except HostRefused:
            raise  # nobody's fault elsewhere
        except MrpackError as failure:
            if not isinstance(source, Mirrored) or not source.pass_over(blob, failure):
                raise

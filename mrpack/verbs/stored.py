"""Reading an artifact that exists, to write it anew: its files, and the overrides it carries."""

from __future__ import annotations

from mrpack.content.copy import read_document
from mrpack.content.ports import Source
from mrpack.digest import read_verified
from mrpack.errors import Unsupported
from mrpack.model.artifact import ModelArtifact
from mrpack.model.dialects import read_artifact
from mrpack.model.layer import LayerRole
from mrpack.model.overrides import OVERRIDES_LIMIT, Overrides, parse_overrides
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import CONFIG_LIMIT
from mrpack.oci.manifest import Index


def read_stored(source: Source, manifest: Descriptor) -> tuple[ModelArtifact, Overrides]:
    """An artifact and the overrides it carries; small documents are read, weights are not.

    Raises:
        Unsupported: files are in archives, or it is an index: there is nothing to keep layer by layer.
    """
    _, document = read_document(source, manifest)
    if isinstance(document, Index):
        raise Unsupported(
            f"{manifest.digest} is an index of several artifacts", hint="name one by its digest"
        )
    artifact = read_artifact(document, _read(source, document.config, CONFIG_LIMIT))
    if artifact.archives:
        raise Unsupported(
            f"{manifest.digest} holds its files in archives",
            hint="`mrpack resolve` unpacks them: package that folder",
        )
    documents = artifact.with_role(LayerRole.OVERRIDES)
    if not documents:
        return artifact, artifact.settings
    return artifact, parse_overrides(_read(source, documents[0].descriptor, OVERRIDES_LIMIT))


def _read(source: Source, descriptor: Descriptor, limit: int) -> bytes:
    stream = source.fetch(descriptor)
    try:
        return read_verified(stream, descriptor.digest, descriptor.size, limit=limit)
    finally:
        stream.close()

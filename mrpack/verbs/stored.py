"""Reading an artifact that exists, to write it anew: its files, and the overrides it carries."""

from __future__ import annotations

from mrpack.content.artifacts import read_model, read_small
from mrpack.content.ports import Source
from mrpack.errors import Unsupported
from mrpack.model.artifact import ModelArtifact
from mrpack.model.layer import LayerRole
from mrpack.model.overrides import OVERRIDES_LIMIT, Overrides, parse_overrides
from mrpack.oci.descriptor import Descriptor


def read_stored(source: Source, manifest: Descriptor) -> tuple[ModelArtifact, Overrides]:
    """An artifact and the overrides it carries; small documents are read, weights are not.

    Raises:
        Unsupported: its files are in archives, so that there is nothing to keep layer by layer.
    """
    artifact = read_model(source, manifest)
    if artifact.archives:
        raise Unsupported(
            f"{manifest.digest} holds its files in archives",
            hint="`mrpack resolve` unpacks them: package that folder",
        )
    documents = artifact.with_role(LayerRole.OVERRIDES)
    if not documents:
        return artifact, artifact.settings
    return artifact, parse_overrides(read_small(source, documents[0].descriptor, OVERRIDES_LIMIT))

"""The verb that shows an artifact, local or in a registry, without pulling its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mrpack.content.copy import read_document
from mrpack.content.ports import Source
from mrpack.digest import read_verified
from mrpack.errors import Unsupported
from mrpack.model.artifact import ModelArtifact
from mrpack.model.dialects import read_artifact
from mrpack.oci.encoding import CONFIG_LIMIT
from mrpack.oci.manifest import Index
from mrpack.targets import open_place
from mrpack.workspace import Access, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    name: str
    artifact: ModelArtifact

    def to_json(self) -> dict[str, Any]:
        """Stable keys; `size` in bytes, of all files."""
        artifact = self.artifact
        config = artifact.config
        manifest = artifact.manifest
        return {
            "reference": self.name,
            "digest": str(manifest.descriptor.digest),
            "dialect": artifact.dialect,
            "artifact_type": manifest.artifact_type,
            "config_media_type": manifest.config.media_type,
            "created": config.created or None,
            "format": config.format,
            "parameters": config.parameters or None,
            "quantization": config.quantization or None,
            "architecture": config.architecture or None,
            "context_size": config.context_size,
            "size": sum(file.descriptor.size for file in artifact.files),
            "metadata": dict(config.metadata),
            "annotations": dict(manifest.annotations),
            "files": [
                {
                    "path": file.path,
                    "role": str(file.role),
                    "media_type": file.descriptor.media_type,
                    "digest": str(file.descriptor.digest),
                    "size": file.descriptor.size,
                }
                for file in artifact.files
            ],
        }


def inspect(workspace: Workspace, model: str) -> Inspected:
    """A local model. Raises NotFound, InvalidArtifact, IntegrityError, Unsupported."""
    stored = workspace.store.find(model)
    return Inspected(name=str(stored.reference), artifact=workspace.store.artifact(stored.manifest))


def inspect_remote(workspace: Workspace, name: str, access: Access | None = None) -> Inspected:
    """A model in a registry or an `oci:` folder: two small requests, no weights."""
    place = open_place(workspace, name, access, create=False)
    return Inspected(name=place.name, artifact=_read(place.target, place.ref))


def _read(source: Source, ref: str) -> ModelArtifact:
    _, document = read_document(source, source.resolve(ref))
    if isinstance(document, Index):
        raise Unsupported(f"{ref} is an index of {len(document.manifests)} artifacts, not a single model")
    stream = source.fetch(document.config)
    try:
        config = read_verified(
            stream, document.config.digest, document.config.size, limit=CONFIG_LIMIT, name="config"
        )
    finally:
        stream.close()
    return read_artifact(document, config)

"""The verb that shows an artifact, local or in a registry, without pulling its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mrpack.content.artifacts import read_model
from mrpack.model.artifact import ModelArtifact
from mrpack.targets import open_place
from mrpack.workspace import Access, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    name: str
    artifact: ModelArtifact

    def to_json(self) -> dict[str, Any]:
        """Stable keys; `size` in bytes, of all layers."""
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
            "size": sum(layer.size for layer in manifest.layers),
            "metadata": dict(config.metadata),
            "annotations": dict(manifest.annotations),
            "archives": [
                {
                    "name": archive.name or None,
                    "role": str(archive.role),
                    "media_type": archive.descriptor.media_type,
                    "digest": str(archive.descriptor.digest),
                    "size": archive.descriptor.size,
                }
                for archive in artifact.archives
            ],
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
    return Inspected(
        name=place.name, artifact=read_model(place.target, place.target.resolve(place.ref), place.name)
    )

"""The verb that shows an artifact, local or in a registry, without pulling its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mrpack.content.artifacts import read_model, read_small
from mrpack.content.ports import Fetcher
from mrpack.errors import InvalidArtifact
from mrpack.formats.code import Finding
from mrpack.model.artifact import ModelArtifact
from mrpack.model.layer import LayerRole
from mrpack.model.quantization import Quantization, find_quantization
from mrpack.targets import open_source
from mrpack.verbs.code import find_stored_code, named_code
from mrpack.workspace import Access, Workspace

if TYPE_CHECKING:
    # The table of all settings, which most artifacts do without.
    from mrpack.model.overrides import Overrides


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """`code`: what files of a local model would run; of a remote one, what its manifest admits.

    `settings`: those of its mrpack.json; None without one, and when it is malformed, which `lint` explains.
    """

    name: str
    artifact: ModelArtifact
    code: tuple[Finding, ...] = ()
    settings: Overrides | None = None

    @property
    def quantization(self) -> Quantization | None:
        """What the table knows of it, for the quantizations of GGUF."""
        return find_quantization(self.artifact.config.quantization)

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
            "bits_per_weight": self.quantization.bits_per_weight if self.quantization else None,
            "quantization_note": self.quantization.note if self.quantization else None,
            "architecture": config.architecture or None,
            "context_size": config.context_size,
            "settings": self.settings.to_json() if self.settings else {},
            "size": sum(layer.size for layer in manifest.layers),
            "metadata": dict(config.metadata),
            "annotations": dict(manifest.annotations),
            "code": [{"path": finding.path, "reason": finding.reason} for finding in self.code],
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
    artifact = workspace.store.artifact(stored.manifest)
    layout = workspace.store.layout
    code = find_stored_code(layout, artifact)
    return Inspected(
        name=str(stored.reference), artifact=artifact, code=code, settings=_settings(layout, artifact)
    )


def inspect_remote(workspace: Workspace, name: str, access: Access | None = None) -> Inspected:
    """A model in a registry, an `oci:` folder or another tool's store: a few small requests, no weights."""
    origin = open_source(workspace, name, access)
    artifact = read_model(origin.source, origin.source.resolve(origin.ref), origin.name)
    return Inspected(
        name=origin.name,
        artifact=artifact,
        code=named_code(artifact),
        settings=_settings(origin.source, artifact),
    )


def _settings(source: Fetcher, artifact: ModelArtifact) -> Overrides | None:
    documents = artifact.with_role(LayerRole.OVERRIDES)
    if not documents:
        return None
    from mrpack.model.overrides import OVERRIDES_LIMIT, parse_overrides  # noqa: PLC0415  # few carry some

    try:
        return parse_overrides(read_small(source, documents[0].descriptor, OVERRIDES_LIMIT))
    except InvalidArtifact:
        return None

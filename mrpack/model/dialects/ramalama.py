"""RamaLama's artifacts: called ModelPack, but without its config, and with types that podman guessed."""

from __future__ import annotations

from typing import Final

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact
from mrpack.model.annotations import find_metadata, find_path
from mrpack.model.artifact import Dialect, ModelArtifact
from mrpack.model.config import ModelConfig
from mrpack.model.filepath import check_path, check_tree
from mrpack.model.layer import ArtifactFile, LayerRole
from mrpack.model.roles import role_by_name
from mrpack.model.weight_formats import format_by_name
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest

_ARTIFACT_TYPE: Final = "application/vnd.cncf.model.manifest.v1+json"
_CONFIG: Final = "application/vnd.cncf.model.config.v1+json"


class RamaLamaDialect:
    name = "ramalama"

    def recognises(self, manifest: Manifest) -> bool:
        return manifest.artifact_type == _ARTIFACT_TYPE and manifest.config.media_type != _CONFIG

    def read(self, manifest: Manifest, config: bytes) -> ModelArtifact:
        del config  # empty, or about an image that there is not
        files: dict[tuple[str, Digest], ArtifactFile] = {}
        for index, layer in enumerate(manifest.layers):
            path = _path(layer, f"layers[{index}]")
            file = ArtifactFile(
                path=path, role=role_by_name(path), format=format_by_name(path), descriptor=layer
            )
            files.setdefault((path, layer.digest), file)
        check_tree([file.path for file in files.values()], "layers")
        weights = next((file.format for file in files.values() if file.role is LayerRole.WEIGHTS), "")
        return ModelArtifact(
            manifest=manifest,
            dialect=self.name,
            config=ModelConfig(format=weights),
            files=tuple(files.values()),
        )


def _path(layer: Descriptor, where: str) -> str:
    path = find_path(layer, where)
    if path:
        return path
    metadata = find_metadata(layer, where)
    if metadata is None:
        raise InvalidArtifact("a file without a name", where=where)
    return check_path(metadata.name, where)


RAMALAMA: Final[Dialect] = RamaLamaDialect()

"""CNCF ModelPack v1: read in every layer type it has and had, written with raw layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from mrpack.digest import Digest
from mrpack.model.artifact import HashedLayer, ModelArtifact, WritableDialect
from mrpack.model.config import ModelConfig
from mrpack.model.dialects.modelpack.config import read_config, write_config
from mrpack.model.dialects.modelpack.layers import layer_descriptor, read_layers
from mrpack.model.filepath import check_tree
from mrpack.model.layer import ArtifactFile, LayerRole
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest

# Docker Model Runner unpacks a manifest as ModelPack only with this type.
ARTIFACT_TYPE: Final = "application/vnd.cncf.model.manifest.v1+json"
CONFIG: Final = "application/vnd.cncf.model.config.v1+json"
# Before the specification moved to the CNCF.
_CNAI_CONFIG: Final = "application/vnd.cnai.model.config.v1+json"


class ModelPackDialect:
    name = "cncf"

    def recognises(self, manifest: Manifest) -> bool:
        """By the config alone: some registries drop `artifactType`."""
        return manifest.config.media_type in {CONFIG, _CNAI_CONFIG}

    def read(self, manifest: Manifest, config: bytes) -> ModelArtifact:
        said = read_config(config)
        files, archives = read_layers(manifest.layers, said.format)
        shown = next((file.format for file in files if file.role is LayerRole.WEIGHTS), "")
        return ModelArtifact(
            manifest=manifest,
            dialect=self.name,
            config=replace(said, format=said.format or shown),
            files=files,
            archives=archives,
            folder=_is_folder(files),
        )

    def write(
        self,
        config: ModelConfig,
        layers: Sequence[HashedLayer],
        *,
        folder: bool,
        annotations: Mapping[str, str] | None = None,
    ) -> tuple[bytes, Manifest]:
        """The very bytes of Docker Model Runner where names tell the roles of files, and `extra` is empty.

        ModelPack has no place for the size, the header values and the context size of `config`, nor for those
        of `extra` that its schema does not know: they are left out.
        """
        del folder  # every file lies under its path, either way
        check_tree([layer.path for layer in layers], "layers")
        descriptors = [layer_descriptor(layer) for layer in layers]
        raw = write_config(config, [layer.digest for layer in descriptors])
        described = Descriptor(media_type=CONFIG, digest=Digest.of(raw), size=len(raw))
        return raw, Manifest.build(
            config=described, layers=descriptors, artifact_type=ARTIFACT_TYPE, annotations=annotations
        )


def _is_folder(files: Sequence[ArtifactFile]) -> bool:
    """Nothing says it. Weight files with company have no config files, and all lie side by side."""
    return any(file.role is LayerRole.CONFIG or "/" in file.path for file in files)


MODELPACK: Final[WritableDialect] = ModelPackDialect()

"""The artifacts of Docker Model Runner: read as it ever wrote them, written as it writes them now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mrpack.digest import Digest
from mrpack.model.artifact import HashedLayer, ModelArtifact, WritableDialect
from mrpack.model.config import ModelConfig
from mrpack.model.dialects.docker.config import read_config, write_config
from mrpack.model.dialects.docker.layers import layer_descriptor, read_archives, read_files
from mrpack.model.filepath import check_tree
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest

# For weight files, and for a folder of files.
CONFIG_FILES: Final = "application/vnd.docker.ai.model.config.v0.1+json"
CONFIG_FOLDER: Final = "application/vnd.docker.ai.model.config.v0.2+json"


class DockerDialect:
    name = "docker"

    def recognises(self, manifest: Manifest) -> bool:
        return manifest.config.media_type in {CONFIG_FILES, CONFIG_FOLDER}

    def read(self, manifest: Manifest, config: bytes) -> ModelArtifact:
        files = read_files(manifest.layers)
        return ModelArtifact(
            manifest=manifest,
            dialect=self.name,
            config=read_config(config, files, [layer.digest for layer in manifest.layers]),
            files=files,
            archives=read_archives(manifest.layers),
            folder=manifest.config.media_type == CONFIG_FOLDER,
        )

    def write(
        self,
        config: ModelConfig,
        layers: Sequence[HashedLayer],
        *,
        folder: bool,
        annotations: Mapping[str, str] | None = None,
    ) -> tuple[bytes, Manifest]:
        """The very bytes of Docker Model Runner, as long as `extra` and all annotations are empty.

        Raises:
            Unsupported: the family has no layer type for a role in this format.
            InvalidArtifact: file names that cannot lie in one folder, or a config beyond CONFIG_LIMIT.
        """
        check_tree([layer.path for layer in layers], "layers")
        descriptors = [layer_descriptor(layer) for layer in layers]
        raw = write_config(config, [layer.digest for layer in descriptors])
        media_type = CONFIG_FOLDER if folder else CONFIG_FILES
        described = Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw))
        return raw, Manifest.build(config=described, layers=descriptors, annotations=annotations)


DOCKER: Final[WritableDialect] = DockerDialect()

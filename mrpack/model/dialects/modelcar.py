"""Container images that carry a model under `/models`: of KServe, olot and RamaLama.

The image's own files are never unpacked; which of its layers hold the model, only the layers know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mrpack.errors import InvalidArtifact
from mrpack.model.artifact import Dialect, ModelArtifact
from mrpack.model.config import ModelConfig
from mrpack.model.fields import object_at, text_at
from mrpack.model.filepath import check_path
from mrpack.model.layer import ArtifactArchive, LayerRole, Packing
from mrpack.model.timestamp import parse_rfc3339
from mrpack.model.weight_formats import format_by_name
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import CONFIG_LIMIT, decode_object
from mrpack.oci.manifest import Manifest

_CONFIGS: Final = frozenset(
    {"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
)
_LAYERS: Final = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.diff.tar")
# KServe mounts this folder.
_MODELS: Final = "models"
# olot: where a layer's file lies in the image, and its path in an artifact that is no image.
_IN_LAYER: Final = "olot.layer.content.inlayerpath"
_CONTENT_NAME: Final = "olot.layer.content.name"
# RamaLama: where the model lies in the image.
_LOCATION: Final = "com.ramalama.model.file.location"


class ModelCarDialect:
    name = "modelcar"

    def recognises(self, manifest: Manifest) -> bool:
        """Any image: whether it carries a model shows when it is unpacked."""
        return (
            manifest.config.media_type in _CONFIGS
            and bool(manifest.layers)
            and all(layer.media_type.startswith(_LAYERS) for layer in manifest.layers)
        )

    def read(self, manifest: Manifest, config: bytes) -> ModelArtifact:
        document = decode_object(config, "config", limit=CONFIG_LIMIT)
        archives = tuple(_archive(layer, f"layers[{index}]") for index, layer in enumerate(manifest.layers))
        labels = object_at(object_at(document, "config", "config"), "Labels", "config.config")
        location = text_at(labels, _LOCATION, "config.config.Labels")
        names = (location, *(archive.name for archive in archives))
        return ModelArtifact(
            manifest=manifest,
            dialect=self.name,
            config=ModelConfig(
                format=next(filter(None, map(format_by_name, names)), ""),
                created=_created(document),
            ),
            files=(),
            archives=archives,
        )


def _archive(layer: Descriptor, where: str) -> ArtifactArchive:
    packing = Packing.of(layer.media_type)
    if packing is None:
        raise InvalidArtifact(f"not an archive: {layer.media_type[:120]!r}", where=where)
    placed = layer.annotations.get(_IN_LAYER, "").lstrip("/")
    named = layer.annotations.get(_CONTENT_NAME, "")
    inner = "" if named and not placed else _MODELS
    path = placed.removeprefix(f"{_MODELS}/") if placed else named
    return ArtifactArchive(
        name=check_path(path, where) if path else "",
        role=LayerRole.OTHER,
        packing=packing,
        descriptor=layer,
        inner=inner,
    )


def _created(document: Mapping[str, Any]) -> str:
    created = text_at(document, "created", "config")
    if created:
        parse_rfc3339(created, "config.created")
    return created


MODELCAR: Final[Dialect] = ModelCarDialect()

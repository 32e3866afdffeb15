"""Files pushed with ORAS, oras-py or omlmd: each layer names its file, and no type can be trusted."""

from __future__ import annotations

from typing import Final

from mrpack.digest import Digest
from mrpack.model.annotations import TITLE, find_path
from mrpack.model.artifact import Dialect, ModelArtifact
from mrpack.model.config import ModelConfig
from mrpack.model.filepath import check_tree
from mrpack.model.layer import ArtifactArchive, ArtifactFile, LayerRole, Packing
from mrpack.model.roles import role_by_name
from mrpack.model.weight_formats import format_by_name
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest

# ORAS: the layer is a folder, to be unpacked.
_UNPACK: Final = "io.deis.oras.content.unpack"
# A file that somebody packed himself is that file.
_ARCHIVE_NAMES: Final = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.zstd", ".zip")


class OrasDialect:
    name = "oras"

    def recognises(self, manifest: Manifest) -> bool:
        """A name of a weights file, or of a folder that may hold some."""
        titles = [layer.annotations[TITLE] for layer in manifest.layers if TITLE in layer.annotations]
        folders = any(_packing(layer) for layer in manifest.layers if TITLE in layer.annotations)
        return folders or any(role_by_name(title) is LayerRole.WEIGHTS for title in titles)

    def read(self, manifest: Manifest, config: bytes) -> ModelArtifact:
        """Layers without a name are left out, as ORAS does."""
        del config  # empty, or its author's own
        files: dict[tuple[str, Digest], ArtifactFile] = {}
        archives: list[ArtifactArchive] = []
        for index, layer in enumerate(manifest.layers):
            path = find_path(layer, f"layers[{index}]")
            if path is None:
                continue
            packing = _packing(layer)
            if packing:
                archives.append(
                    ArtifactArchive(name=path, role=LayerRole.OTHER, packing=packing, descriptor=layer)
                )
                continue
            file = ArtifactFile(
                path=path, role=role_by_name(path), format=format_by_name(path), descriptor=layer
            )
            files.setdefault((path, layer.digest), file)
        check_tree([file.path for file in files.values()], "layers")
        shown = (format_by_name(item.path) for item in files.values())
        return ModelArtifact(
            manifest=manifest,
            dialect=self.name,
            config=ModelConfig(format=next(filter(None, shown), "")),
            files=tuple(files.values()),
            archives=tuple(archives),
        )


def _packing(layer: Descriptor) -> Packing | None:
    """ORAS gives raw files the type of an uncompressed archive, so that one means nothing by itself."""
    packing = Packing.of(layer.media_type)
    if layer.annotations.get(_UNPACK) == "true":
        return packing
    named = layer.annotations.get(TITLE, "").endswith(_ARCHIVE_NAMES)
    return None if packing is Packing.TAR or named else packing


ORAS: Final[Dialect] = OrasDialect()

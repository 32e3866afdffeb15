"""KitOps ModelKits: a Kitfile as config, and every part of the project in an archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mrpack.digest import Digest
from mrpack.errors import Unsupported
from mrpack.model.artifact import Dialect, ModelArtifact
from mrpack.model.config import ModelConfig
from mrpack.model.fields import object_at, objects_at, text_at
from mrpack.model.filepath import check_path
from mrpack.model.layer import ArtifactArchive, LayerRole, Packing
from mrpack.model.weight_formats import WEIGHT_FORMATS, format_by_name
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import CONFIG_LIMIT, decode_object
from mrpack.oci.manifest import Manifest

_PREFIX: Final = "application/vnd.kitops.modelkit."
CONFIG: Final = _PREFIX + "config.v1+json"
# `application/vnd.kitops.modelkit.{kind}.v1.tar[+gzip]`
_ROLES: Final[Mapping[str, LayerRole]] = {
    "model": LayerRole.WEIGHTS,
    "modelpart": LayerRole.CONFIG,
    "docs": LayerRole.DOC,
    "code": LayerRole.OTHER,
    "dataset": LayerRole.OTHER,
    "prompt": LayerRole.OTHER,
}
# Lists of entries in a Kitfile; each entry names its layer by digest, since layers have no annotations.
_LISTS: Final = ("code", "datasets", "docs", "prompts")


class KitOpsDialect:
    name = "kitops"

    def recognises(self, manifest: Manifest) -> bool:
        return manifest.config.media_type == CONFIG

    def read(self, manifest: Manifest, config: bytes) -> ModelArtifact:
        """Raises Unsupported for a kit whose model is another kit."""
        from mrpack.model.overrides import from_kitops_parameters  # noqa: PLC0415  # no other dialect has some

        kitfile = decode_object(config, "config", limit=CONFIG_LIMIT)
        model = object_at(kitfile, "model", "config")
        paths = {Digest.parse(entry["digest"]): _path(entry) for entry in _entries(kitfile)}
        archives = tuple(
            _archive(layer, paths.get(layer.digest, ""), f"layers[{index}]")
            for index, layer in enumerate(manifest.layers)
        )
        if not any(archive.role is LayerRole.WEIGHTS for archive in archives):
            path = text_at(model, "path", "config")
            raise Unsupported(
                f"its model is another ModelKit: {path[:200]}" if path else "a ModelKit without a model",
                hint="name that one" if path else None,
            )
        return ModelArtifact(
            manifest=manifest,
            dialect=self.name,
            config=ModelConfig(format=_format(model)),
            files=(),
            archives=archives,
            settings=from_kitops_parameters(model.get("parameters")),
        )


def _entries(kitfile: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Everything that has a layer."""
    model = object_at(kitfile, "model", "config")
    for entry in (
        model,
        *objects_at(model, "parts", "config.model"),
        *(entry for name in _LISTS for entry in objects_at(kitfile, name, "config")),
    ):
        if entry.get("digest"):
            yield entry


def _archive(layer: Descriptor, name: str, where: str) -> ArtifactArchive:
    packing = Packing.of(layer.media_type)
    kind = layer.media_type.removeprefix(_PREFIX).partition(".")[0]
    if packing is None or not layer.media_type.startswith(_PREFIX):
        raise Unsupported(f"{where}: not a layer type of ModelKits: {layer.media_type[:120]!r}")
    role = _ROLES.get(kind, LayerRole.OTHER)
    return ArtifactArchive(
        name=name, role=role, packing=packing, descriptor=layer, named=role is not LayerRole.OTHER
    )


def _path(entry: Mapping[str, Any]) -> str:
    """`path` is as its author wrote it: `./model/`, or `.` for the whole project."""
    path = text_at(entry, "path", "config").rstrip("/")
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    return "" if path in {"", "."} else check_path(path, "config.path")


def _format(model: Mapping[str, Any]) -> str:
    """Empty when only the files can tell."""
    written = text_at(model, "format", "config").lower()
    return written if written in WEIGHT_FORMATS else format_by_name(text_at(model, "path", "config"))


KITOPS: Final[Dialect] = KitOpsDialect()

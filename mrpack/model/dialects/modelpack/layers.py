"""Layers of ModelPack: their media types, and which file or archive each one is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from mrpack.digest import Digest
from mrpack.errors import Unsupported
from mrpack.model.annotations import FILEPATH, TITLE, file_annotations, find_metadata
from mrpack.model.artifact import HashedLayer
from mrpack.model.filepath import check_path, check_tree
from mrpack.model.layer import ArtifactArchive, ArtifactFile, LayerRole, Packing
from mrpack.model.roles import ROLE, role_by_name
from mrpack.model.weight_formats import format_by_name
from mrpack.oci.descriptor import Descriptor

# `cnai` and `layer` are words of the first drafts; Docker Model Runner wrote raw files as `gguf` and
# `safetensors` until April 2026.
_MEDIA_TYPE = re.compile(
    r"application/vnd\.cn(?:cf|ai)\.model\.(weight|weight\.config|doc|code|dataset|layer)\.v1"
    r"\.(raw|tar|tar\+gzip|tar\+zstd|gguf|safetensors)"
)
_PREFIXES: Final = ("application/vnd.cncf.model.", "application/vnd.cnai.model.")
_WRITTEN: Final = "application/vnd.cncf.model.{kind}.v1.raw"

# Names of files; the last is what everybody but ModelPack uses.
_NAMES: Final = (FILEPATH, "org.cnai.model.filepath", TITLE)
# What carries a whole folder in each kind of layer, when the names of its files say nothing.
_ROLES: Final[Mapping[str, LayerRole]] = {
    "weight": LayerRole.WEIGHTS,
    "layer": LayerRole.WEIGHTS,
    "weight.config": LayerRole.CONFIG,
    "doc": LayerRole.DOC,
    "code": LayerRole.OTHER,
    "dataset": LayerRole.OTHER,
    "foreign": LayerRole.OTHER,
}
# Kinds whose files are what they are, whatever their names: a dataset's model.json configures nothing.
_DEAF: Final = frozenset({"code", "dataset", "foreign"})
_DOCUMENTS: Final = frozenset({LayerRole.LICENSE, LayerRole.DOC})

_ROLE_NAMES: Final = frozenset(LayerRole)
_KINDS: Final[Mapping[LayerRole, str]] = {
    LayerRole.WEIGHTS: "weight",
    LayerRole.MMPROJ: "weight",
    LayerRole.ADAPTER: "weight",
    LayerRole.LICENSE: "doc",
    LayerRole.DOC: "doc",
    LayerRole.CHAT_TEMPLATE: "weight.config",
    LayerRole.CONFIG: "weight.config",
    LayerRole.OVERRIDES: "weight.config",
    LayerRole.OTHER: "weight.config",
}


def read_layers(
    layers: Sequence[Descriptor], format_name: str
) -> tuple[tuple[ArtifactFile, ...], tuple[ArtifactArchive, ...]]:
    """`format_name` is that of weights whose names do not tell. A layer that repeats a file is left out."""
    files: dict[tuple[str, Digest], ArtifactFile] = {}
    archives: list[ArtifactArchive] = []
    unnamed: Counter[str] = Counter()
    for index, layer in enumerate(layers):
        kind, packed = _kind(layer, f"layers[{index}]")
        name = _find_name(layer, f"layers[{index}]")
        packing = Packing.of(layer.media_type)
        if packing:
            archives.append(
                ArtifactArchive(
                    name=name,
                    role=_ROLES[kind],
                    packing=packing,
                    descriptor=layer,
                    named=kind not in _DEAF,
                )
            )
            continue
        own_format = packed if packed != "raw" else format_name
        if not name:
            unnamed[kind] += 1
            name = _invent_name(kind, unnamed[kind], own_format)
        role = _role(layer, kind, name)
        weights = role in {LayerRole.WEIGHTS, LayerRole.MMPROJ, LayerRole.ADAPTER}
        file = ArtifactFile(
            path=name,
            role=role,
            format=(format_by_name(name) or own_format) if weights else "",
            descriptor=layer,
        )
        files.setdefault((name, layer.digest), file)
    check_tree([file.path for file in files.values()], "layers")
    return tuple(files.values()), tuple(archives)


def _kind(layer: Descriptor, where: str) -> tuple[str, str]:
    match = _MEDIA_TYPE.fullmatch(layer.media_type)
    if match:
        return match[1], match[2]
    if layer.media_type.startswith(_PREFIXES):
        raise Unsupported(f"{where}: a layer type that mrpack does not know: {layer.media_type[:120]!r}")
    return "foreign", "raw"


def _find_name(layer: Descriptor, where: str) -> str:
    for key in _NAMES:
        if key in layer.annotations:
            return check_path(layer.annotations[key], f"{where}.annotations[{key}]")
    metadata = find_metadata(layer, where)
    return check_path(metadata.name, where) if metadata else ""


def _invent_name(kind: str, number: int, format_name: str) -> str:
    """A name for the file at position `number`, from 1, of its kind."""
    if kind in {"weight", "layer"}:
        return f"model{'' if number == 1 else f'-{number}'}.{format_name or 'bin'}"
    return f"{kind.replace('.', '-')}-{number}"


def _role(layer: Descriptor, kind: str, name: str) -> LayerRole:
    written = layer.annotations.get(ROLE)
    if written in _ROLE_NAMES:
        return LayerRole(written)
    named = role_by_name(name)
    if named is LayerRole.OTHER or kind in _DEAF or (kind == "doc" and named not in _DOCUMENTS):
        return _ROLES[kind]
    return named


def layer_descriptor(layer: HashedLayer) -> Descriptor:
    kind = _KINDS[layer.role]
    described = Descriptor(
        media_type=_WRITTEN.format(kind=kind),
        digest=layer.content.digest,
        size=layer.content.size,
        annotations={**layer.content.annotations, **file_annotations(layer.path, layer.metadata)},
    )
    if _role(described, kind, layer.path) is layer.role:
        return described
    return described.with_annotations({**described.annotations, ROLE: layer.role.value})

"""Layers of the Docker family: their media types, what they are for, and under which name they lie."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mrpack.digest import Digest
from mrpack.errors import Unsupported
from mrpack.model.annotations import file_annotations, find_path
from mrpack.model.artifact import HashedLayer
from mrpack.model.filepath import check_tree
from mrpack.model.layer import ArtifactArchive, ArtifactFile, LayerRole, Packing
from mrpack.model.roles import ROLE, role_by_name
from mrpack.model.weight_formats import format_by_name
from mrpack.oci.descriptor import Descriptor


@dataclass(frozen=True, slots=True)
class _LayerType:
    """A media type of layers. `only` and `numbered` name its files when they have no names of their own."""

    media_type: str
    role: LayerRole
    format: str
    only: str
    numbered: str
    written: bool = True

    def name(self, number: int, count: int) -> str:
        """Of the file at position `number`, from 1, among `count`."""
        return self.only if count == 1 else self.numbered.format(number=number, count=count)


_SHARD: Final = "model-{number:05}-of-{count:05}"

# File names are those that Docker Model Runner unpacks to.
_LAYER_TYPES: Final = (
    _LayerType(
        "application/vnd.docker.ai.gguf.v3", LayerRole.WEIGHTS, "gguf", "model.gguf", f"{_SHARD}.gguf"
    ),
    _LayerType(
        "application/vnd.docker.ai.safetensors",
        LayerRole.WEIGHTS,
        "safetensors",
        "model.safetensors",
        f"{_SHARD}.safetensors",
    ),
    _LayerType(
        "application/vnd.docker.ai.dduf", LayerRole.WEIGHTS, "dduf", "model.dduf", "model-{number}.dduf"
    ),
    _LayerType(
        "application/vnd.docker.ai.mmproj",
        LayerRole.MMPROJ,
        "gguf",
        "model.mmproj",
        "model-{number}.mmproj",
    ),
    _LayerType(
        "application/vnd.docker.ai.chat.template.jinja",
        LayerRole.CHAT_TEMPLATE,
        "",
        "template.jinja",
        "template-{number}.jinja",
    ),
    _LayerType("application/vnd.docker.ai.license", LayerRole.LICENSE, "", "LICENSE", "LICENSE-{number}"),
    # Known to the published specification (docker/model-spec) alone; the program ignores such layers.
    _LayerType(
        "application/vnd.docker.ai.gguf.v3.lora",
        LayerRole.ADAPTER,
        "gguf",
        "adapter.gguf",
        "adapter-{number}.gguf",
    ),
    _LayerType(
        "application/vnd.docker.ai.gguf.v3.mmproj",
        LayerRole.MMPROJ,
        "gguf",
        "model.mmproj",
        "model-{number}.mmproj",
        written=False,
    ),
)
# Uncompressed archives beside Safetensors weights, until February 2026. Their entries have whole paths.
_ARCHIVES: Final[Mapping[str, LayerRole]] = {
    "application/vnd.docker.ai.vllm.config.tar": LayerRole.CONFIG,
    "application/vnd.docker.ai.dir.tar": LayerRole.OTHER,
}
_ANY_FILE: Final = _LayerType(
    "application/vnd.docker.ai.model.file", LayerRole.OTHER, "", "file", "file-{number}"
)
_BY_MEDIA_TYPE: Final[Mapping[str, _LayerType]] = {row.media_type: row for row in _LAYER_TYPES}
_ROLES_THAT_SHARE_NAMES: Final = frozenset({LayerRole.LICENSE, LayerRole.CHAT_TEMPLATE})
_ROLES_WITH_A_TYPE: Final = frozenset(row.role for row in _LAYER_TYPES if row.written)

_PLAIN_ROLES: Final = frozenset({LayerRole.CONFIG, LayerRole.DOC, LayerRole.OVERRIDES})


def read_files(layers: Sequence[Descriptor]) -> tuple[ArtifactFile, ...]:
    """Layers as files. A layer that repeats a file, name and content, is left out."""
    files: dict[tuple[str, Digest], ArtifactFile] = {}
    for layer, path in zip(layers, _file_names(layers), strict=True):
        if layer.media_type in _ARCHIVES:
            continue
        row = _BY_MEDIA_TYPE.get(layer.media_type, _ANY_FILE)
        role = _role_of_file(layer, path) if layer.media_type == _ANY_FILE.media_type else row.role
        # The one role with a type of its own in some formats alone.
        format_ = row.format or (format_by_name(path) if role is LayerRole.ADAPTER else "")
        file = ArtifactFile(path=path, role=role, format=format_, descriptor=layer)
        files.setdefault((path, layer.digest), file)
    check_tree([file.path for file in files.values()], "layers")
    return tuple(files.values())


def read_archives(layers: Sequence[Descriptor]) -> tuple[ArtifactArchive, ...]:
    return tuple(
        ArtifactArchive(name="", role=_ARCHIVES[layer.media_type], packing=Packing.TAR, descriptor=layer)
        for layer in layers
        if layer.media_type in _ARCHIVES
    )


def _file_names(layers: Sequence[Descriptor]) -> list[str]:
    """The names that layers carry, else names by their positions among layers of the same kind."""
    rows = [_BY_MEDIA_TYPE.get(layer.media_type, _ANY_FILE) for layer in layers]
    found = [find_path(layer, f"layers[{index}]") for index, layer in enumerate(layers)]
    names = [name or f"file-{index}" for index, name in enumerate(found, start=1)]
    groups: dict[tuple[LayerRole, str], list[int]] = {}
    for index, row in enumerate(rows):
        if row is not _ANY_FILE:
            groups.setdefault((row.role, row.format), []).append(index)
    for (role, _), group in groups.items():
        if not _are_usable(role, {(found[index], layers[index].digest) for index in group}):
            for number, index in enumerate(group, start=1):
                names[index] = rows[index].name(number, len(group))
    return names


def _are_usable(role: LayerRole, named: Collection[tuple[str | None, Digest]]) -> bool:
    """Before November 2025 layers had no names. To this day two licences, or templates, may share one."""
    names = {name for name, _ in named}
    return None not in names and (role not in _ROLES_THAT_SHARE_NAMES or len(names) == len(named))


def _role_of_file(layer: Descriptor, path: str) -> LayerRole:
    """Of a plain file; roles that have a media type of their own are not meant, unless it says so itself."""
    if layer.annotations.get(ROLE) == LayerRole.ADAPTER:
        return LayerRole.ADAPTER
    role = role_by_name(path)
    return role if role in _PLAIN_ROLES else LayerRole.OTHER


def layer_descriptor(layer: HashedLayer) -> Descriptor:
    media_type = _media_type(layer)
    role = {ROLE: layer.role.value} if _is_untyped_adapter(layer) else {}
    return Descriptor(
        media_type=media_type,
        digest=layer.content.digest,
        size=layer.content.size,
        annotations={**layer.content.annotations, **file_annotations(layer.path, layer.metadata), **role},
    )


def _is_untyped_adapter(layer: HashedLayer) -> bool:
    """An adapter for Safetensors: as weights it would be taken for a part of the model."""
    return layer.role is LayerRole.ADAPTER and layer.format == "safetensors"


def _media_type(layer: HashedLayer) -> str:
    for row in _LAYER_TYPES:
        if row.written and row.role is layer.role and row.format == layer.format:
            return row.media_type
    if layer.role in _ROLES_WITH_A_TYPE and not _is_untyped_adapter(layer):
        raise Unsupported(
            f"{layer.path}: no layer type of Docker models for {layer.role} in format {layer.format!r}"
        )
    return _ANY_FILE.media_type

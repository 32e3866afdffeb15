"""What our writers hold to beyond the schemas, as a table of rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from mrpack.errors import MrpackError
from mrpack.model.annotations import find_metadata
from mrpack.model.artifact import HashedLayer, ModelArtifact
from mrpack.model.dialects import WRITERS
from mrpack.model.dialects.docker import CONFIG_FILES, DOCKER
from mrpack.model.layer import ArtifactFile, FileMetadata, LayerRole
from mrpack.model.overrides import Overrides
from mrpack.model.pipeline import INDEX_NAME
from mrpack.oci.manifest import Manifest

# llama.cpp and Transformers name shards alike.
_SHARD = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})\.[^./]+", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An artifact that could be read. `digests`: under which key its config lists layers, and the list."""

    artifact: ModelArtifact
    digests: tuple[str, list[Any]]
    overrides: Overrides


Remarks = Iterator[tuple[str, str]]
"""Key in the document, and what is wrong there."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`name` is stable, and documented in docs/lint.md."""

    name: str
    document: str
    check: Callable[[Subject], Remarks]


def _weights(subject: Subject) -> Remarks:
    if not subject.artifact.with_role(LayerRole.WEIGHTS) and not subject.artifact.archives:
        yield "layers", "none holds weights"


def _archives(subject: Subject) -> Remarks:
    """Readers link layers as they are: only the newest can unpack one."""
    layers = subject.artifact.manifest.layers
    for archive in subject.artifact.archives:
        yield (
            f"layers[{layers.index(archive.descriptor)}].mediaType",
            "an archive; mrpack writes one file a layer",
        )


def _diff_ids(subject: Subject) -> Remarks:
    key, listed = subject.digests
    layers = subject.artifact.manifest.layers
    if len(listed) != len(layers):
        yield key, f"{len(listed)} digests for {len(layers)} layers"
        return
    for number, (digest, layer) in enumerate(zip(listed, layers, strict=True)):
        if digest != str(layer.digest):
            yield f"{key}[{number}]", f"not the digest of layers[{number}], {layer.digest}"


def _format(subject: Subject) -> Remarks:
    """A pipeline is made of weights in another format; else all are of the one the config names."""
    artifact = subject.artifact
    if any(file.path == INDEX_NAME for file in artifact.files):
        return
    for file in artifact.with_role(LayerRole.WEIGHTS):
        if file.format and file.format != artifact.config.format:
            yield "config.format", f"{artifact.config.format!r}, but {file.path} is {file.format}"


def _layer_types(subject: Subject) -> Remarks:
    """What our writer would say of the same files."""
    artifact = subject.artifact
    if len(artifact.files) != len(artifact.manifest.layers):
        return
    try:
        written = _written(artifact)
    except MrpackError as error:
        yield "layers", error.message
        return
    for number, (layer, ours) in enumerate(zip(artifact.manifest.layers, written.layers, strict=True)):
        if layer.media_type != ours.media_type:
            yield f"layers[{number}].mediaType", f"{layer.media_type!r}; mrpack writes {ours.media_type!r}"
    if artifact.manifest.artifact_type != written.artifact_type:
        ours_type = written.artifact_type or "none"
        yield "artifactType", f"{artifact.manifest.artifact_type or 'none'}; mrpack writes {ours_type}"


def _written(artifact: ModelArtifact) -> Manifest:
    layers = [
        HashedLayer(
            path=file.path,
            role=file.role,
            format=file.format,
            metadata=find_metadata(file.descriptor, file.path) or _plain_metadata(file),
            content=file.descriptor.plain(),
        )
        for file in artifact.files
    ]
    return WRITERS[artifact.dialect].write(artifact.config, layers, folder=artifact.folder)[1]


def _plain_metadata(file: ArtifactFile) -> FileMetadata:
    return FileMetadata(name=file.path, mode=0, mtime_ns=0, size=file.descriptor.size)


def _layout(subject: Subject) -> Remarks:
    """Readers of weight files put them side by side, under names of their own."""
    if subject.artifact.manifest.config.media_type != CONFIG_FILES:
        return
    for file in subject.artifact.files:
        if "/" in file.path:
            yield "config.mediaType", f"of weight files, but {file.path} lies in a folder"


def _shard_order(subject: Subject) -> Remarks:
    """Readers rename shards by their positions."""
    sets: dict[tuple[str, int], list[int]] = {}
    for file in subject.artifact.with_role(LayerRole.WEIGHTS):
        if match := _SHARD.fullmatch(file.path):
            sets.setdefault((match[1], int(match[3])), []).append(int(match[2]))
    for (stem, count), numbers in sets.items():
        if numbers != list(range(1, count + 1)):
            yield "layers", f"shards of {stem} are {str(numbers)[:80]}, not 1 to {count} in order"


def _context_size(subject: Subject) -> Remarks:
    size = subject.artifact.config.context_size
    if size == 0:
        yield "config.context_size", "0 tokens; leave it out for the model's own"
    wanted = subject.overrides.values.get("context_size")
    mirrored = subject.artifact.dialect == DOCKER.name
    if mirrored and wanted is not None and wanted > 0 and wanted != size:
        yield "config.context_size", f"{size or 'missing'}, but mrpack.json has {wanted}"


RULES: Final = (
    Rule("weights", "manifest", _weights),
    Rule("archives", "manifest", _archives),
    Rule("diff-ids", "config", _diff_ids),
    Rule("format", "config", _format),
    Rule("layer-types", "manifest", _layer_types),
    Rule("layout", "manifest", _layout),
    Rule("shard-order", "manifest", _shard_order),
    Rule("context-size", "config", _context_size),
)

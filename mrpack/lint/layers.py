"""The annotations of layers: which file each one is, and that all of them can lie side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mrpack.errors import InvalidArtifact
from mrpack.lint.findings import Finding, found, from_error
from mrpack.lint.schemas import check_schema
from mrpack.model.annotations import FILEPATH, METADATA, UNTESTED, find_metadata
from mrpack.model.filepath import check_path, check_tree
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import decode_object


def check_layers(layers: Sequence[Descriptor]) -> Iterator[Finding]:
    """The writer rules for annotations of layers (docs/lint.md), which Docker and ModelPack share."""
    paths = []
    for number, layer in enumerate(layers):
        where = f"layers[{number}]"
        missing = [key for key in (FILEPATH, METADATA, UNTESTED) if key not in layer.annotations]
        if missing:
            yield found("manifest", f"{where}.annotations", "annotations", f"no {', '.join(missing)}")
        path = layer.annotations.get(FILEPATH)
        if path is not None:
            try:
                paths.append(check_path(path, f"{where}.annotations[{FILEPATH}]"))
            except InvalidArtifact as error:
                yield from_error(error, "manifest", "filepath")
        if METADATA in layer.annotations:
            yield from _check_metadata(layer, where)
    try:
        check_tree(paths, "layers")
    except InvalidArtifact as error:
        yield from_error(error, "manifest", "paths")


def _check_metadata(layer: Descriptor, where: str) -> Iterator[Finding]:
    place = f"{where}.annotations[{METADATA}]"
    try:
        document = decode_object(layer.annotations[METADATA].encode(errors="replace"), place)
        broken = list(check_schema(document, "file-metadata", "manifest", within=place))
        yield from broken
        metadata = None if broken else find_metadata(layer, where)
    except InvalidArtifact as error:
        yield from_error(error, "manifest", "file-metadata")
        return
    if metadata is None:
        return
    if metadata.size != layer.size:
        text = f"{metadata.size} bytes, but the layer has {layer.size}"
        yield found("manifest", f"{place}.size", "file-metadata", text)
    name = layer.annotations.get(FILEPATH, metadata.name).rpartition("/")[2]
    if metadata.name != name:
        yield found(
            "manifest", f"{place}.name", "file-metadata", f"{metadata.name!r}, but the path has {name!r}"
        )

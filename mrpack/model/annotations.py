"""The annotations that say which file a layer is: of the CNCF ModelPack specification, and OCI's title."""

from __future__ import annotations

from typing import Final

from mrpack.errors import InvalidArtifact
from mrpack.model.filepath import check_path
from mrpack.model.layer import FileMetadata
from mrpack.model.timestamp import format_ns, parse_rfc3339
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import decode_object, encode, size_field, text_field

# CNCF model-spec v0.0.7, "annotations.md".
FILEPATH: Final = "org.cncf.model.filepath"
METADATA: Final = "org.cncf.model.file.metadata+json"
UNTESTED: Final = "org.cncf.model.file.mediatype.untested"
# OCI image-spec, "Pre-Defined Annotation Keys"; what ORAS and others name files by.
TITLE: Final = "org.opencontainers.image.title"

_METADATA_LIMIT: Final = 64 * 1024


def file_annotations(path: str, metadata: FileMetadata) -> dict[str, str]:
    """The three annotations that Docker Model Runner writes, with its bytes."""
    document = {
        "name": metadata.name,
        "mode": metadata.mode,
        "uid": 0,
        "gid": 0,
        "size": metadata.size,
        "mtime": format_ns(metadata.mtime_ns),
        "typeflag": 0,
    }
    return {UNTESTED: "false", METADATA: encode(document).decode(), FILEPATH: path}


def find_path(layer: Descriptor, where: str) -> str | None:
    """The checked path a layer is named by, if any. Raises InvalidArtifact when it is not safe."""
    for key in (FILEPATH, TITLE):
        if key in layer.annotations:
            return check_path(layer.annotations[key], f"{where}.annotations[{key}]")
    return None


def find_metadata(layer: Descriptor, where: str) -> FileMetadata | None:
    """What a layer says about its file, if anything: needed to write the same annotations again.

    Raises InvalidArtifact on a malformed document.
    """
    text = layer.annotations.get(METADATA)
    if text is None:
        return None
    where = f"{where}.annotations[{METADATA}]"
    document = decode_object(text.encode(errors="replace"), where, limit=_METADATA_LIMIT)
    mode = size_field(document, "mode", where)
    if mode > 0o7777:
        raise InvalidArtifact(f"not permission bits: {mode}", where=f"{where}.mode")
    return FileMetadata(
        name=text_field(document, "name", where),
        mode=mode,
        mtime_ns=parse_rfc3339(text_field(document, "mtime", where), f"{where}.mtime"),
        size=size_field(document, "size", where),
    )

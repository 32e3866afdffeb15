"""What a file is for in a model artifact, and the file facts that travel with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mrpack.oci.descriptor import Descriptor


class LayerRole(StrEnum):
    """Independent of format and dialect; a dialect maps it to its media types."""

    WEIGHTS = "weights"
    MMPROJ = "mmproj"
    ADAPTER = "adapter"
    CHAT_TEMPLATE = "chat-template"
    LICENSE = "license"
    DOC = "doc"
    OVERRIDES = "overrides"
    CONFIG = "config"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMetadata:
    """`mode`: permission bits; `mtime_ns`: nanoseconds since the epoch, UTC; `size`: bytes."""

    name: str
    mode: int
    mtime_ns: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLayer:
    """A file that will become a layer: one file, one blob, uncompressed.

    `path` is its relative path in the artifact, with forward slashes; `format` the model format of a weights
    file, else empty; `content` the local file, or the bytes of one that exists only in the artifact.
    """

    path: str
    role: LayerRole
    format: str
    content: Path | bytes
    metadata: FileMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFile:
    """A file that an artifact carries. `path` was checked: relative, no `..`, unique in its artifact."""

    path: str
    role: LayerRole
    format: str
    descriptor: Descriptor

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
    file, else empty; `content` the local file, the bytes of one that exists only in the artifact, or the
    descriptor of a blob that is stored already.
    """

    path: str
    role: LayerRole
    format: str
    content: Path | bytes | Descriptor
    metadata: FileMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFile:
    """A file that an artifact carries. `path` was checked: relative, no `..`, unique in its artifact."""

    path: str
    role: LayerRole
    format: str
    descriptor: Descriptor


class Packing(StrEnum):
    """How an archive layer is packed; the words are the ends of media types."""

    TAR = "tar"
    TAR_GZIP = "tar+gzip"
    TAR_ZSTD = "tar+zstd"

    @classmethod
    def of(cls, media_type: str) -> Packing | None:
        """That of layers such as `application/vnd.oci.image.layer.v1.tar+gzip`; None: not an archive."""
        end = media_type.rpartition(".")[2]
        # Docker's own image layers: `….rootfs.diff.tar.gzip`.
        if media_type.endswith(".tar.gzip"):
            return cls.TAR_GZIP
        return cls(end) if end in _PACKINGS else None


_PACKINGS = frozenset(Packing)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactArchive:
    """A layer of other tools that holds files in an archive: which, is known once it is unpacked.

    `name` is what the manifest calls it, if anything: the checked path of the one file or the folder in it.
    `role` is that of files whose own names do not tell one; of all files, when names do not count (`named`).
    With `inner`, only the files of that folder count, named from there on: the rest of an image is an
    operating system that nobody wants.
    """

    name: str
    role: LayerRole
    packing: Packing
    descriptor: Descriptor
    inner: str = ""
    named: bool = True

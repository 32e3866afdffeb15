"""A model artifact as read from any dialect, and what each dialect has to provide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mrpack.model.config import ModelConfig
from mrpack.model.layer import ArtifactArchive, ArtifactFile, FileMetadata, LayerRole
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArtifact:
    """`dialect` names the dialect it was read from; `files` are in layer order, shards in shard order.

    `archives` are layers whose files are not known yet; an artifact that has some is not complete.
    """

    manifest: Manifest
    dialect: str
    config: ModelConfig
    files: tuple[ArtifactFile, ...]
    archives: tuple[ArtifactArchive, ...] = ()

    def with_role(self, role: LayerRole) -> tuple[ArtifactFile, ...]:
        return tuple(file for file in self.files if file.role is role)


@dataclass(frozen=True, slots=True, kw_only=True)
class HashedLayer:
    """A layer whose digest is known; input of a dialect's writer."""

    path: str
    role: LayerRole
    format: str
    metadata: FileMetadata
    content: Descriptor


class Dialect(Protocol):
    """One way to write a model as an OCI manifest; pure: no file and no socket is touched."""

    name: str

    def recognises(self, manifest: Manifest) -> bool:
        """Whether `read` understands this manifest, by media types alone."""
        ...

    def read(self, manifest: Manifest, config: bytes) -> ModelArtifact:
        """Raises InvalidArtifact, with the JSON path of what is wrong, on a malformed config or file name."""
        ...


class WritableDialect(Dialect, Protocol):
    def write(
        self, config: ModelConfig, layers: Sequence[HashedLayer], *, folder: bool
    ) -> tuple[bytes, Manifest]:
        """Config bytes and manifest; `folder`: the model is a folder of files rather than weight files."""
        ...

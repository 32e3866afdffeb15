"""A model artifact as read from any dialect, and what each dialect has to provide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol, Self

from mrpack.model.config import ModelConfig
from mrpack.model.filepath import check_tree
from mrpack.model.layer import ArtifactArchive, ArtifactFile, FileMetadata, LayerRole
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest

if TYPE_CHECKING:
    # The table of all settings, which reading an artifact does without.
    from mrpack.model.overrides import Imported

# Manifest annotation that names the files which run code, so that who pulls can refuse them.
CODE: Final = "io.mrpack.code"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArtifact:
    """`dialect` names the dialect it was read from; `files` are in layer order, shards in shard order.

    `archives` are layers whose files are not known yet; an artifact that has some is not complete. `settings`
    are what the artifact's own config has in another tool's words; documents among its files may have more
    (overrides/sources.py). `folder`: written as a folder of files, not as weight files with company.
    """

    manifest: Manifest
    dialect: str
    config: ModelConfig
    files: tuple[ArtifactFile, ...]
    archives: tuple[ArtifactArchive, ...] = ()
    folder: bool = False
    settings: Imported | None = None

    @property
    def named_code(self) -> tuple[str, ...]:
        """The files of which the manifest says that they run code."""
        return tuple(filter(None, self.manifest.annotations.get(CODE, "").split(",")))

    def with_role(self, role: LayerRole) -> tuple[ArtifactFile, ...]:
        return tuple(file for file in self.files if file.role is role)

    def with_unpacked(self, files: Sequence[ArtifactFile]) -> Self:
        """The complete artifact: `files` are all that its archives hold, in the order of the archives.

        Of files with one path the last counts, as it does in the layers of an image. Files from archives come
        in the order of their names, which is that of shards.

        Raises:
            InvalidArtifact: two different files that some file system takes for one.
        """
        unpacked = {file.path: file for file in files}
        kept = [file for file in self.files if file.path not in unpacked]
        complete = (*kept, *sorted(unpacked.values(), key=lambda file: file.path))
        check_tree([file.path for file in complete], str(self.manifest.descriptor.digest))
        shown = next((file.format for file in complete if file.role is LayerRole.WEIGHTS), "")
        config = replace(self.config, format=self.config.format or shown)
        return replace(self, config=config, files=complete, archives=())


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
        self,
        config: ModelConfig,
        layers: Sequence[HashedLayer],
        *,
        folder: bool,
        annotations: Mapping[str, str] | None = None,
    ) -> tuple[bytes, Manifest]:
        """Config bytes and manifest; `folder`: the model is a folder of files rather than weight files.

        `annotations` are those of the manifest.
        """
        ...

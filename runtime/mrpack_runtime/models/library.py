"""The port through which the gateway finds models: by any name that users may write."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mrpack.digest import Digest
from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import ModelBundle


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryEntry:
    """A model as listed.

    `names` are its public references, the preferred one first; empty for an untagged model. `config` is as
    the artifact has it, but of its `metadata` nothing except lengths of contexts. `created`: Unix seconds;
    `size`: bytes of all its layers; `mode`: what the artifact says that it is for; `sees`: it takes pictures.
    """

    names: tuple[str, ...]
    digest: Digest
    config: ModelConfig
    created: int = 0
    size: int = 0
    mode: str | None = None
    sees: bool = False

    @property
    def id(self) -> str:
        return self.names[0] if self.names else str(self.digest)


class Library(Protocol):
    """Local models. Methods may touch the disk but never the network, and may be called from any thread."""

    def find(self, name: str) -> ModelBundle:
        """Resolves references, unique short names, digests and short ids, and lays the files out.

        Repeating it is cheap. The bundle's `name` is the public reference of what `name` means, as listed.

        Raises:
            NotFound: no local model has that name.
            UsageError: not a name, or one that means several models.
            InvalidArtifact: the model cannot be laid out for an engine.
        """
        ...

    def list(self) -> tuple[LibraryEntry, ...]:
        """Asked again and again: what was read of a model once is remembered."""
        ...

    def metadata(self, digest: Digest) -> Mapping[str, str]:
        """All that the header of a model's format says, as text.

        Raises:
            NotFound: no local model has that digest.
            InvalidArtifact, IntegrityError: as reading the artifact fails.
        """
        ...

    def stamp(self) -> Hashable:
        """A value that differs whenever `find` could answer differently; costs a few system calls at most."""
        ...


@runtime_checkable
class PullingLibrary(Library, Protocol):
    """A library that can fetch what is missing (`serve --pull missing`)."""

    def pull(self, name: str) -> None:
        """Fetches a model so that `find` succeeds. Blocks; touches the network.

        Raises:
            NotFound, AccessDenied, RegistryUnavailable, IntegrityError, InvalidArtifact: as the copy failed.
        """
        ...

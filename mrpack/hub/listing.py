"""What a Hugging Face repository holds at one commit."""

from __future__ import annotations

from dataclasses import dataclass

from mrpack.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """`path` is not checked yet; `size` in bytes. `digest`: of large files (LFS), None for those in git.

    `blob_id`: git's own hash; of a large file that of its pointer.
    """

    path: str
    size: int
    blob_id: str
    digest: Digest | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """Empty, or ending in a slash."""
        return self.path[: self.path.rfind("/") + 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class HubListing:
    """`repository` as the hub calls it now; `revision` is a commit."""

    repository: str
    revision: str
    files: tuple[HubFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is taken of a repository: `files` are all of it.

    `kind` is that of a packing plan. `main`: the path of the file that stands for the model, such as the
    first shard; empty when all files together are the model. `projector`, `licenses`: paths beside it.
    """

    kind: str
    files: tuple[HubFile, ...]
    main: str = ""
    projector: str = ""
    licenses: tuple[str, ...] = ()

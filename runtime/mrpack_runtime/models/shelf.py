"""The port through which the gateway changes what models there are: pull, push, tag, remove and so on."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mrpack.content.progress import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What a removal took away: names, and the digests of models that have no name any more."""

    untagged: tuple[str, ...]
    deleted: tuple[str, ...]


class ModelShelf(Protocol):
    """Every method blocks, may be called from any thread, and raises what the verbs of mrpack raise."""

    def pull(self, name: str, report: Report) -> str:
        """Fetches a model; the name it has here."""
        ...

    def push(self, name: str, report: Report) -> str:
        """Pushes a local model to the registry in its name; its digest."""
        ...

    def tag(self, name: str, new: str) -> str:
        """A second name for a local model, in full."""
        ...

    def remove(self, name: str) -> Dropped:
        """One name of a model; the model itself goes with its last."""
        ...

    def free(self) -> int:
        """Removes what no model needs; how many bytes that were."""
        ...

    def load(self, archive: Path, report: Report) -> tuple[str, ...]:
        """Takes the models of an archive in; their names."""
        ...

    def scratch(self) -> AbstractContextManager[Path]:
        """The path of a file to write beside the models, gone when the bracket closes."""
        ...

    def export(self, name: str, archive: Path) -> None:
        """Writes a model into a new archive."""
        ...

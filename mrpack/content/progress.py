"""What a transfer tells whoever watches it: events without any rendering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from mrpack.oci.descriptor import Descriptor


class Outcome(StrEnum):
    """How a blob came to be at its destination."""

    TRANSFERRED = "transferred"
    EXISTING = "existing"
    LINKED = "linked"
    MOUNTED = "mounted"


@dataclass(frozen=True, slots=True)
class Planned:
    """The copy is about to start; every blob it will ask for, each digest once."""

    blobs: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Advanced:
    """`position`: bytes of this blob that are done. It may go back when a source has to start again."""

    blob: Descriptor
    position: int


@dataclass(frozen=True, slots=True)
class Finished:
    blob: Descriptor
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Worked:
    """Bytes of a local file that are read or written before anything moves. `what`: "hashing model.gguf"."""

    what: str
    size: int
    position: int


@dataclass(frozen=True, slots=True)
class Counted:
    """Work that is no bytes: `done` of `count` things called `unit`. `what`: "quantizing Q4_K_M"."""

    what: str
    done: int
    count: int
    unit: str


Event = Planned | Advanced | Finished | Worked | Counted
Report = Callable[[Event], None]
"""Called from several threads; must be quick and must not raise."""


def silent(_event: Event) -> None:
    """The report of those who do not watch."""

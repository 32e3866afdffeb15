"""A disk that keeps only what was synced: what may be left of files and folders after a power loss.

Pessimistic as POSIX allows: bytes that were not synced may be lost, torn or kept; of the new, changed and
removed names of a folder since its last sync, any subset may have reached the disk.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# Subsets of at most so many pending names of a folder are tried one by one; of more, only the beginnings.
_SUBSETS_OF = 5


@dataclass(eq=False)
class File:
    live: bytearray = field(default_factory=bytearray)
    synced: bytes = b""

    def sync(self) -> None:
        self.synced = bytes(self.live)

    def after_crash(self, fate: str) -> bytes:
        if fate == "kept" or self.synced == self.live:
            return bytes(self.live)
        if fate == "torn":
            half = max(len(self.synced), len(self.live) // 2)
            return bytes(self.live[:half]) + bytes(len(self.live) - half)
        return self.synced


@dataclass(eq=False)
class Folder:
    live: dict[str, Node] = field(default_factory=dict)
    synced: dict[str, Node] = field(default_factory=dict)
    pending: list[tuple[str, Node | None]] = field(default_factory=list)

    def set(self, name: str, node: Node | None) -> None:
        self.pending.append((name, node))
        _apply(self.live, name, node)

    def sync(self) -> None:
        self.synced = dict(self.live)
        self.pending.clear()

    def after_crash(self) -> Iterator[dict[str, Node]]:
        """Every set of names that may be found."""
        if len(self.pending) <= _SUBSETS_OF:
            choices = itertools.product((False, True), repeat=len(self.pending))
        else:
            count = len(self.pending)
            choices = ([number < upto for number in range(count)] for upto in range(count + 1))
        for choice in choices:
            names = dict(self.synced)
            for (name, node), is_on_disk in zip(self.pending, choice, strict=True):
                if is_on_disk:
                    _apply(names, name, node)
            yield names


Node = File | Folder
FATES = ("lost", "torn", "kept")


def _apply(names: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


class Disk:
    """Paths below `top`; what is outside of it is not modelled."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.root = Folder()

    def load(self, path: Path, *, synced: bool) -> None:
        """A file or a folder as it is now on the real disk."""
        if path.is_dir():
            self._parent(path).set(path.name, Folder())
            for child in sorted(path.iterdir()):
                self.load(child, synced=synced)
        else:
            file = File(bytearray(path.read_bytes()))
            self._parent(path).set(path.name, file)
            if synced:
                file.sync()
        if synced:
            self.sync_all()

    def sync_all(self) -> None:
        for folder in list(self._folders(self.root)):
            folder.sync()

    def find(self, path: Path) -> Node | None:
        node: Node | None = self.root
        for part in path.relative_to(self.top).parts:
            node = node.live.get(part) if isinstance(node, Folder) else None
        return node

    def holds(self, path: Path) -> bool:
        return path.is_relative_to(self.top)

    def create(self, path: Path, node: Node) -> Node:
        self._parent(path).set(path.name, node)
        return node

    def remove(self, path: Path) -> None:
        self._parent(path).set(path.name, None)

    def rename(self, old: Path, new: Path) -> None:
        node = self.find(old)
        assert node is not None, old
        if node is self.find(new):
            return  # rename(2): two names of one file, nothing happens
        self._parent(new).set(new.name, node)
        self._parent(old).set(old.name, None)

    def _parent(self, path: Path) -> Folder:
        node = self.find(path.parent)
        assert isinstance(node, Folder), path
        return node

    def _folders(self, folder: Folder) -> Iterator[Folder]:
        yield folder
        for node in folder.live.values():
            if isinstance(node, Folder):
                yield from self._folders(node)

    def after_crash(self, without: frozenset[str]) -> Iterator[dict[str, bytes]]:
        """Every state a power loss may leave, as paths and contents.

        Folders named in `without` keep what they have: nothing depends on them.
        """
        for fate in FATES:
            for state in self._states(self.root, "", without, fate):
                yield dict(state)

    def _states(
        self, folder: Folder, prefix: str, without: frozenset[str], fate: str
    ) -> Iterator[list[tuple[str, bytes]]]:
        all_names = [folder.live] if os.path.basename(prefix) in without else folder.after_crash()
        for names in all_names:
            files: list[tuple[str, bytes]] = []
            below: list[list[list[tuple[str, bytes]]]] = []
            for name, node in names.items():
                path = f"{prefix}/{name}" if prefix else name
                if isinstance(node, File):
                    files.append((path, node.after_crash(fate)))
                else:
                    below.append(list(self._states(node, path, without, fate)))
            for chosen in itertools.product(*below):
                yield [*files, *itertools.chain.from_iterable(chosen)]

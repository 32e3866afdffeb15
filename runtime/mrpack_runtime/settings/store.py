"""The port for settings that a user gives to a model by hand, and keeps: `configure`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Protocol

from mrpack.model.overrides import Overrides


class SettingsStore(Protocol):
    """Settings by the public name of their model. May be called from any thread."""

    def get(self, name: str) -> Overrides:
        """Empty when nothing was set. Cheap: it is asked for every new want."""
        ...

    def set(self, name: str, overrides: Overrides) -> None:
        """Replaces all that was set before; empty ones take the entry away. Atomic."""
        ...

    def all(self) -> Mapping[str, Overrides]:
        """By name; only models for which something is set."""
        ...

    def stamp(self) -> Hashable:
        """A value that differs whenever `get` could answer differently; costs a system call at most."""
        ...


class MemorySettings:
    """A SettingsStore that lasts as long as its process."""

    def __init__(self) -> None:
        self._kept: dict[str, Overrides] = {}
        self._changes = 0

    def get(self, name: str) -> Overrides:
        return self._kept.get(name, Overrides())

    def set(self, name: str, overrides: Overrides) -> None:
        kept = {key: value for key, value in self._kept.items() if key != name}
        self._kept = {**kept, name: overrides} if overrides else kept
        self._changes += 1

    def all(self) -> Mapping[str, Overrides]:
        return self._kept

    def stamp(self) -> Hashable:
        return self._changes

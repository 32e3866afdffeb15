"""What names an engine process, and what a request wants of one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from mrpack.digest import Digest
from mrpack_runtime.engine import Operation
from mrpack_runtime.memory import Memory

_NO_MEMORY: Final = Memory()


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What one engine process serves. Tags of one digest share it, unless their settings differ.

    `variant` stands for the engine's settings.
    """

    digest: Digest
    engine: str
    operation: Operation
    variant: str = ""

    @property
    def common(self) -> EngineKey:
        """What its variants have in common."""
        return replace(self, variant="")

    def is_variant_of(self, other: EngineKey) -> bool:
        """The same but for its settings."""
        return self != other and self.common == other.common


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a request needs. `name` is the model's: of one name only the newest settings stay.

    `need`: memory of its engine; `keep_alive_s`, `pinned`: as of Resident.
    """

    key: EngineKey
    name: str = ""
    need: Memory = _NO_MEMORY
    keep_alive_s: float | None = 300.0
    pinned: bool = False

    @property
    def succession(self) -> tuple[str, EngineKey]:
        """Of the engines that have this in common only the newest stays."""
        return self.name, self.key.common

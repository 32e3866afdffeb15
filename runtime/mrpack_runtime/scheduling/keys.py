"""What names an engine process, and what a request wants of one."""

from __future__ import annotations

from typing import Final, NamedTuple

from mrpack.digest import Digest
from mrpack_runtime.engine import Operation
from mrpack_runtime.machine.memory import Memory

_NO_MEMORY: Final = Memory()
# A model's name, the engine and its operation: what the name means, and with which settings, may change.
Succession = tuple[str, str, Operation]


class EngineKey(NamedTuple):
    """What one engine process serves. Tags of one digest share it, unless their settings differ.

    `variant` stands for the engine's settings. A tuple, as Demand is: each request makes and looks for them.
    """

    digest: Digest
    engine: str
    operation: Operation
    variant: str = ""

    @property
    def common(self) -> EngineKey:
        """What its variants have in common."""
        return self._replace(variant="")

    def is_variant_of(self, other: EngineKey) -> bool:
        """The same but for its settings."""
        return self != other and self.common == other.common


class Demand(NamedTuple):
    """What a request needs. `name` is the model's: of one name only the newest settings stay.

    `need`: memory of its engine; `keep_alive_s`, `pinned`: as of Resident.
    """

    key: EngineKey
    name: str = ""
    need: Memory = _NO_MEMORY
    keep_alive_s: float | None = 300.0
    pinned: bool = False

    @property
    def succession(self) -> Succession:
        """Of the engines that have this in common only the newest is pinned."""
        return self.name, self.key.engine, self.key.operation

"""An engine process as the schedule sees it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mrpack_runtime.machine.memory import Memory
from mrpack_runtime.scheduling.keys import EngineKey, Succession

_NO_MEMORY: Final = Memory()


class Phase(StrEnum):
    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(slots=True, eq=False)
class Resident:
    """An engine process that exists or is about to; changed by its Schedule only.

    `keep_alive_s` counts from the last request; None keeps it until room is needed. `pinned` ones are never
    taken for room. `outdated`: its model is wanted with other settings, so that it ends with its requests.
    Times are of the schedule's clock.
    """

    key: EngineKey
    phase: Phase
    since: float
    last_used: float
    keep_alive_s: float | None
    pinned: bool = False
    name: str = ""
    need: Memory = _NO_MEMORY
    busy: int = 0
    outdated: bool = False

    @property
    def succession(self) -> Succession:
        """As of Demand: who has the same takes its place."""
        return self.name, self.key.engine, self.key.operation

    @property
    def is_idle(self) -> bool:
        return self.phase is Phase.READY and self.busy == 0

    @property
    def is_lent(self) -> bool:
        """Whether requests can have it."""
        return self.phase is Phase.READY and not self.outdated

    @property
    def expires_at(self) -> float | None:
        """When it has been idle for too long; None while busy or when it may stay."""
        if not self.is_idle:
            return None
        if self.outdated:
            return self.last_used
        if self.pinned or self.keep_alive_s is None:
            return None
        return self.last_used + self.keep_alive_s

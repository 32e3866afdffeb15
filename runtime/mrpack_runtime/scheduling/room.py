"""Room for one engine more: whether there is some, whom to wait for, and whom to stop."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from mrpack.model.amounts import counted
from mrpack_runtime.machine.memory import Memory, takes
from mrpack_runtime.scheduling.admission import Overloaded, PoolLimits
from mrpack_runtime.scheduling.line import Line
from mrpack_runtime.scheduling.residents import Phase, Resident

_NO_MEMORY: Final = Memory()


@dataclass(frozen=True, slots=True)
class Place:
    """What an engine that takes `need` asks for; engines of `ahead` were asked for before and come first."""

    need: Memory
    ahead: list[Memory]
    limits: PoolLimits

    def fits_beside(self, residents: Iterable[Resident]) -> bool:
        needs = self._needs(residents)
        return len(needs) <= self.limits.max_loaded and not self._lacking(needs)

    def victim(self, residents: Collection[Resident], line: Line) -> Resident | None:
        """The engine to stop for it; None: what is busy or already stopping has to end first.

        Whoever has what is missing and was not used for the longest time. Never busy, loading, pinned ones,
        and nobody for nothing.

        Raises:
            Overloaded: pinned engines leave no room, so that it can never come.
        """
        staying = [resident for resident in residents if resident.phase is not Phase.STOPPING]
        if self.fits_beside(staying):
            return None
        pinned = [resident for resident in residents if resident.pinned]
        if not Place(self.need, [], self.limits).fits_beside(pinned):
            raise Overloaded(
                f"beside {counted(len(pinned), 'pinned engine')} there is no room for {self.need}",
                hint="unload one, or raise --max-loaded or --memory-limit",
                retry_after_s=60.0,
            )
        # Whoever waited for a model may not have come round to use it: it is not idle.
        idle = [
            resident
            for resident in staying
            if resident.is_idle and not resident.pinned and resident.key not in line
        ]
        if not self.fits_beside(resident for resident in staying if resident not in idle):
            return None  # what is idle would go for nothing
        needs = self._needs(staying)
        lacking = self._lacking(needs)
        too_many = len(needs) > self.limits.max_loaded
        useful = (resident for resident in idle if too_many or takes(resident.need, lacking))
        return min(useful, key=lambda resident: resident.last_used)

    def _needs(self, residents: Iterable[Resident]) -> list[Memory]:
        return [*(resident.need for resident in residents), *self.ahead, self.need]

    def _lacking(self, needs: Iterable[Memory]) -> frozenset[int]:
        return self.limits.memory.lacks(sum(needs, _NO_MEMORY))

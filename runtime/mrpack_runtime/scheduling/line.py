"""The line of requests that wait: those of one engine stand in it once, where the first of them came."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from mrpack_runtime.machine.memory import Memory
from mrpack_runtime.scheduling.keys import Demand, EngineKey


@dataclass(slots=True)
class _Group:
    """Requests that wait for one engine, and the memory it will take."""

    need: Memory
    count: int = 0


@dataclass(slots=True)
class Line:
    """`waiting` requests in all."""

    waiting: int = 0
    _groups: dict[EngineKey, _Group] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def __contains__(self, key: EngineKey) -> bool:
        return key in self._groups

    def count_of(self, key: EngineKey) -> int:
        group = self._groups.get(key)
        return group.count if group else 0

    def join(self, demand: Demand) -> None:
        self.waiting += 1
        self._groups.setdefault(demand.key, _Group(demand.need)).count += 1

    def leave(self, key: EngineKey) -> None:
        self.waiting -= 1
        self._groups[key].count -= 1
        if not self._groups[key].count:
            del self._groups[key]

    def ahead_of(self, key: EngineKey, present: Container[EngineKey]) -> list[Memory]:
        """What the engines take that were asked for before this one and are not `present` yet."""
        ahead = []
        for other, group in self._groups.items():
            if other == key:
                break
            if other not in present:
                ahead.append(group.need)
        return ahead

"""Amounts of memory, of the machine and of each GPU, and what fits beside what."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mrpack_runtime.machine.host import HostFacts

_GIB: Final = 2**30
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that something takes; `gpus` in the order of HostFacts, those at the end may be left out."""

    host: int = 0
    gpus: tuple[int, ...] = ()

    def __add__(self, other: Memory) -> Memory:
        return Memory(
            self.host + other.host,
            tuple(mine + theirs for mine, theirs in zip_longest(self.gpus, other.gpus, fillvalue=0)),
        )

    def __str__(self) -> str:
        places = [(self.host, "memory"), *((gpu, f"GPU {n}") for n, gpu in enumerate(self.gpus))]
        return ", ".join(f"{_size(size)} of {name}" for size, name in places if size) or "no memory"


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """Bytes that engines may take together; None: not known, and then not watched."""

    host: int | None = None
    gpus: tuple[int | None, ...] = ()

    def lacks(self, wanted: Memory) -> frozenset[int]:
        """Where `wanted` is more than there is: 0 is the machine, 1 the first GPU."""
        limits = (self.host, *self.gpus)
        sizes = (wanted.host, *wanted.gpus)
        return frozenset(
            place
            for place, (size, limit) in enumerate(zip(sizes, limits, strict=False))
            if limit is not None and size > limit
        )

    def describe(self, place: int) -> str:
        limit = (self.host, *self.gpus)[place]
        where = f"GPU {place - 1}" if place else "memory"
        return f"{_size(limit or 0)} of {where}"


def takes(amount: Memory, places: frozenset[int]) -> bool:
    """Whether it takes anything at one of these places."""
    return any(size and place in places for place, size in enumerate((amount.host, *amount.gpus)))


def host_limit(host: HostFacts, limit: int | None = None) -> MemoryLimit:
    """All that this machine has; `limit` stands for its memory when given. Apple's GPUs share that."""
    gpus = tuple(None if gpu.api == "metal" else gpu.memory for gpu in host.gpus)
    return MemoryLimit(host.memory if limit is None else limit, gpus)


def _size(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.0f} MiB"

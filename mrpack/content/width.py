"""How many connections one blob is worth: one more for as long as each makes it faster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

LIMIT: Final = 4
# Seconds over which a rate is measured: enough for a connection on a slow link to get going.
WINDOW_S: Final = 2.0
# Bytes a second with which receiving is not what a transfer waits for: a disk, or SHA-256 (some 1.4 GB/s on
# an idle core), is as slow.
_FAST: Final = 256 * 1024 * 1024
# What one more connection has to bring to be kept.
_GAIN: Final = 1.2


@dataclass(frozen=True, slots=True)
class Width:
    """`connections` to have now. `rate`: bytes a second of the width before; `settled`: it stays as it is."""

    connections: int = 1
    rate: float = 0.0
    settled: bool = False

    def after(self, rate: float) -> Width:
        """With `rate` bytes a second measured over all connections, and all of them at work."""
        if self.settled:
            return self
        if rate < self.rate * _GAIN:
            return Width(max(1, self.connections - 1), self.rate, settled=True)
        if rate >= _FAST or self.connections == LIMIT:
            return replace(self, settled=True)
        return Width(self.connections + 1, rate)

    def refused(self, left: int) -> Width:
        """A connection was refused, or broke, and `left` of them are at work: more are not asked for."""
        return Width(max(1, min(self.connections, left)), self.rate, settled=True)

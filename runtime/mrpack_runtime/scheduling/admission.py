"""Which requests may come in at all: how many at once, how large their engine is, how often it failed."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from mrpack.errors import EngineFailed, HostRefused, MrpackError
from mrpack_runtime.machine.memory import MemoryLimit
from mrpack_runtime.scheduling.keys import Demand, EngineKey

# What a client is asked to wait when we cannot tell: an engine may be free, or loaded, by then.
_SOON_S: Final = 1.0
_NO_LIMIT: Final = MemoryLimit()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """`max_loaded` engine processes; `max_requests` served or waiting at once, `max_waiting` of them waiting.

    `max_per_engine`: of these, so that those for one model leave some for others.
    `memory`: of all engines together. `wait_s`: the longest wait for room, after which a load may begin.
    An engine that fails `crash_limit` times within `crash_window_s` is not started again until the oldest
    failure has left that window.
    """

    max_loaded: int = 3
    max_requests: int = 4096
    max_per_engine: int = 2048
    max_waiting: int = 512
    memory: MemoryLimit = _NO_LIMIT
    wait_s: float = 600.0
    crash_limit: int = 3
    crash_window_s: float = 60.0


class Overloaded(MrpackError):
    """No room now; `retry_after_s` says when it is worth trying again."""

    exit_code = 9
    http_status = 503
    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float = _SOON_S, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class TooLarge(HostRefused):
    """This model can never be loaded here, whatever else leaves."""

    code = "insufficient_memory"


class CrashLoop(EngineFailed):
    """An engine that failed too often to be started again now; carries the last failure."""

    http_status = 503
    code = "engine_crash_loop"

    def __init__(self, last: EngineFailed, *, failures: int, retry_after_s: float) -> None:
        super().__init__(
            f"the engine failed {failures} times, it is not started again for {math.ceil(retry_after_s)} s: "
            + last.message,
            exit_status=last.exit_status,
            log_tail=last.log_tail,
            hint=last.hint,
        )
        self.retry_after_s = retry_after_s


def check_size(demand: Demand, limit: MemoryLimit) -> None:
    """Raises TooLarge when its engine takes more memory than all engines may."""
    lacking = limit.lacks(demand.need)
    if lacking:
        raise TooLarge(
            f"{demand.name or demand.key.digest.short} would take {demand.need}, and engines may take "
            + limit.describe(min(lacking)),
            hint="a smaller context_size or quantization takes less, --memory-limit allows more",
        )


@dataclass(slots=True)
class Failures:
    """The last failures of each engine."""

    limits: PoolLimits
    _recent: dict[EngineKey, deque[tuple[float, EngineFailed]]] = field(default_factory=dict)

    def add(self, key: EngineKey, error: EngineFailed, now: float) -> None:
        self._recent.setdefault(key, deque(maxlen=self.limits.crash_limit)).append((now, error))

    def check(self, key: EngineKey, now: float) -> None:
        """Raises CrashLoop when this engine failed too often, too recently."""
        recent = self._recent.get(key)
        if recent is None:
            return
        while recent and recent[0][0] <= now - self.limits.crash_window_s:
            recent.popleft()
        if not recent:
            del self._recent[key]
        elif len(recent) >= self.limits.crash_limit:
            retry_after_s = recent[0][0] + self.limits.crash_window_s - now
            raise CrashLoop(recent[-1][1], failures=len(recent), retry_after_s=retry_after_s)

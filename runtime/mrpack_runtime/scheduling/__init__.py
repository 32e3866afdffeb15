"""Which engines live: decisions without input or output; the time is an argument."""

from mrpack_runtime.scheduling.admission import CrashLoop, Overloaded, PoolLimits, TooLarge, check_size
from mrpack_runtime.scheduling.keys import Demand, EngineKey
from mrpack_runtime.scheduling.residents import Phase, Resident
from mrpack_runtime.scheduling.schedule import Decision, Evict, Schedule, Start, Use, Wait

__all__ = [
    "CrashLoop",
    "Decision",
    "Demand",
    "EngineKey",
    "Evict",
    "Overloaded",
    "Phase",
    "PoolLimits",
    "Resident",
    "Schedule",
    "Start",
    "TooLarge",
    "Use",
    "Wait",
    "check_size",
]

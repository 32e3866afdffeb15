"""Durations, as Go and Docker Model Runner write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from mrpack.model.overrides.kinds import INT32_MAX, Schema, TextKind, is_whole

_DURATION: Final = r"(?:-1|0|(?:[0-9]{1,6}(?:\.[0-9]{1,3})?(?:ms|s|m|h)){1,4})"
_DURATION_PART = re.compile(r"([0-9.]+)(ms|s|m|h)", re.ASCII)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Duration(TextKind):
    """A text such as "5m"; a number is seconds, as Ollama has it."""

    @property
    def words(self) -> str:
        return 'a duration such as "5m" or "1h30m", "0", or "-1" for ever'

    def takes(self, value: Any) -> bool:
        if is_whole(value):
            return -1 <= value <= INT32_MAX
        return isinstance(value, str) and re.fullmatch(_DURATION, value) is not None

    def canonical(self, value: Any) -> Any:
        if isinstance(value, str):
            return value
        return f"{int(value)}s" if value > 0 else str(int(value))

    def schema(self) -> Schema:
        limits = {"minimum": -1, "maximum": INT32_MAX}
        return {"type": ["string", "integer"], "pattern": f"^{_DURATION}$", **limits}


def duration_s(text: str) -> float | None:
    """Seconds of a canonical Duration; None: for ever."""
    if text == "-1":
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))

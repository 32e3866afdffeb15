"""Counts and sizes as Docker Model Runner writes them for Safetensors and DDUF, in powers of 1000."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_COUNT_UNITS: Final = ("", "K", "M", "B", "T")
_SIZE_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def decimal_count(count: int) -> str:
    """A number of parameters: 361821120 is `361.82M`, 203 is `203.00`."""
    return _format(count, _COUNT_UNITS)


def decimal_size(size: int) -> str:
    """Bytes: 723674912 is `723.67MB`; `n/a` for nothing."""
    return _format(size, _SIZE_UNITS) if size > 0 else "n/a"


def _format(number: int, units: Sequence[str]) -> str:
    """Divided again and again in floating point, as go-units does: the last digit hangs on it."""
    value = float(number)
    index = 0
    while value >= 1000 and index < len(units) - 1:
        value /= 1000
        index += 1
    return f"{value:.2f}{units[index]}"

"""Counts and sizes as people, and Docker Model Runner, write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from mrpack.errors import UsageError

_COUNT_UNITS: Final = ("", "K", "M", "B", "T")
_SIZE_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")

_SIZE = re.compile(r"([0-9]{1,9})(?:\.([0-9]))?([kmgt]?)(?:i?b)?", re.IGNORECASE)
_FACTORS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_size(text: str) -> int:
    """Bytes from `500K`, `10M`, `1.5G`; letters are powers of 1024, as curl's.

    Raises UsageError; also for nothing at all.
    """
    match = _SIZE.fullmatch(text.strip())
    size = match and int(float(f"{match[1]}.{match[2] or 0}") * _FACTORS[match[3].lower()])
    if not size:
        raise UsageError(f"not a size: {text[:40]!r}", hint="write 500K, 10M or 1.5G")
    return size


def counted(number: int, thing: str) -> str:
    """`1 model`, `2 models`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def decimal_count(count: int) -> str:
    """A number of parameters, in powers of 1000: 361821120 is `361.82M`, 203 is `203.00`."""
    return _format(count, _COUNT_UNITS)


def decimal_size(size: int) -> str:
    """Bytes: 723674912 is `723.67MB`; `n/a` for nothing."""
    return _format(size, _SIZE_UNITS) if size > 0 else "n/a"


def human_size(size: float) -> str:
    """Bytes in binary units, such as `256.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _format(number: int, units: Sequence[str]) -> str:
    """Divided again and again in floating point, as go-units does: the last digit hangs on it."""
    value = float(number)
    index = 0
    while value >= 1000 and index < len(units) - 1:
        value /= 1000
        index += 1
    return f"{value:.2f}{units[index]}"

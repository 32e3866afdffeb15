"""The table of engines: every declaration that is installed under the entry point `mrpack.engines`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

from mrpack_runtime.engine import Engine, caveat


@cache
def engines() -> Mapping[str, Engine]:
    """By name: those that were tested, then the others, each in order of their names. Loads no engine."""
    points = sorted(entry_points(group="mrpack.engines"), key=lambda point: point.name)
    found: dict[str, Engine] = {point.name: point.load() for point in points}
    return MappingProxyType(dict(sorted(found.items(), key=lambda item: caveat(item[1]) != "")))

"""The table of engines: every declaration that is installed under the entry point `mrpack.engines`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

from mrpack_runtime.engine import Engine


@cache
def engines() -> Mapping[str, Engine]:
    """By name, in order of their names. Loads the declarations, and no engine."""
    found: dict[str, Engine] = {}
    for point in sorted(entry_points(group="mrpack.engines"), key=lambda point: point.name):
        found[point.name] = point.load()
    return MappingProxyType(found)

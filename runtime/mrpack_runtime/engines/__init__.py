"""The table of engines: every declaration that is installed under the entry point `mrpack.engines`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

from mrpack_runtime.engine import Engine, caveat
from mrpack_runtime.machine.platforms import preference


@cache
def engines() -> Mapping[str, Engine]:
    """By name: those that were tested, then the others; each the preferred first. Loads no engine."""
    found: list[Engine] = [point.load() for point in entry_points(group="mrpack.engines")]
    found.sort(key=lambda engine: (caveat(engine) != "", preference(engine.name), engine.name))
    return MappingProxyType({engine.name: engine for engine in found})

"""The table of recipes: every one that is installed under the entry point `mrpack.recipes`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

from mrpack_runtime.machine.platforms import preference
from mrpack_runtime.recipe import Recipe


@cache
def recipes() -> Mapping[str, Recipe]:
    """By engine, the preferred first. Loads the recipes, and no engine."""
    points = sorted(
        entry_points(group="mrpack.recipes"), key=lambda point: (preference(point.name), point.name)
    )
    return MappingProxyType({point.name: point.load() for point in points})

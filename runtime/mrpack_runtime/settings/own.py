"""The settings of one engine, held against the table of all before they become words of its command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mrpack.errors import UsageError
from mrpack.model.overrides import SETTINGS, Setting


def own_settings(group: str) -> dict[str, Setting]:
    """By name: those below `group`, without its own words for general settings, which come as those."""
    return {setting.name: setting for setting in SETTINGS if setting.group == group and not setting.refines}


def checked(group: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `own` in their canonical form.

    Raises:
        UsageError: a setting that is not in the table, or a value that it does not take.
    """
    known = own_settings(group)
    found = {}
    for name, value in own.items():
        if name not in known:
            raise UsageError(f"{group}.{name[:60]} is not a setting", hint=f"one of {', '.join(known)}")
        kind = known[name].kind
        if wanted := kind.refusal(value):
            raise UsageError(f"{group}.{name} must be {wanted}, not {str(value)[:60]!r}")
        found[name] = kind.canonical(value)
    return found

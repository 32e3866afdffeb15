"""Hypothesis strategies for settings: values that each kind takes, and whole documents of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from mrpack.model.overrides import SETTINGS, Overrides, Setting, check_settings
from mrpack.model.overrides.duration import Duration
from mrpack.model.overrides.kinds import Choice, Pattern, Prose, Real, Switch, Texts, Whole
from mrpack.model.overrides.objects import Tree, Variables

_names = st.from_regex("[a-z_][a-z0-9_]{0,8}", fullmatch=True)
_leaves = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0.5, -1e300, "yarn"])
)
_trees = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=8,
)


def values(setting: Setting) -> st.SearchStrategy[Any]:
    """What `setting` takes."""
    match setting.kind:
        case Whole(minimum, maximum):
            return st.integers(minimum, maximum)
        case Real(minimum, maximum):
            return st.floats(minimum, maximum) | st.integers(int(minimum) + 1, int(maximum))
        case Switch():
            return st.booleans()
        case Choice(names):
            return st.sampled_from(names)
        case Pattern(expression):
            return st.from_regex(expression, fullmatch=True)
        case Prose(limit):
            return st.text(max_size=min(limit, 40))
        case Texts(count, limit):
            return st.lists(st.text(min_size=1, max_size=min(limit, 8)), max_size=min(count, 4))
        case Duration():
            return st.integers(-1, 10**6) | st.sampled_from(["0", "-1", "5m", "1h30m", "1.5s", "20ms"])
        case Variables(whole):
            item = st.integers(0, 100) if whole else st.booleans() | st.text(max_size=8) | st.just(0.5)
            return st.dictionaries(_names, item, max_size=4)
        case Tree():
            return st.dictionaries(_names, _trees, max_size=3)
    raise AssertionError(setting.kind)


@st.composite
def settings_by_key(draw: st.DrawFn) -> dict[str, Any]:
    chosen = draw(st.lists(st.sampled_from(SETTINGS), max_size=6, unique_by=lambda setting: setting.key))
    return {setting.key: draw(st.none() | values(setting)) for setting in chosen}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in draw(settings_by_key()).items():
        group, _, name = key.rpartition(".")
        place = result.setdefault(group, {}) if group else result
        place[name] = value
    return result


def overrides() -> st.SearchStrategy[Overrides]:
    return settings_by_key().map(lambda found: check_settings(found, "test"))

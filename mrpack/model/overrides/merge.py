"""Settings from several places become one set, each value with the place that it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Self

from mrpack.model.overrides.document import Overrides
from mrpack.model.overrides.table import BY_KEY


class Origin(IntEnum):
    """Where a setting comes from. The higher one wins, whatever order they are merged in.

    OTHER_TOOL is what an artifact carries beside `mrpack.json`: Ollama's `params`, parameters of a Kitfile,
    the context size of a Docker model config, which may be just the model's own.
    """

    ENGINE = 0
    MODEL_FILES = 1
    OTHER_TOOL = 2
    ARTIFACT = 3
    CONFIGURE = 4
    COMMAND = 5
    REQUEST = 6

    @property
    def label(self) -> str:
        """As `mrpack configure show --effective` prints it."""
        return _LABELS[self]


_LABELS: Mapping[Origin, str] = {
    Origin.ENGINE: "engine default",
    Origin.MODEL_FILES: "model files",
    Origin.OTHER_TOOL: "artifact, not mrpack.json",
    Origin.ARTIFACT: "artifact",
    Origin.CONFIGURE: "mrpack configure",
    Origin.COMMAND: "command line",
    Origin.REQUEST: "request",
}


@dataclass(frozen=True, slots=True)
class Sourced:
    """A value and its origin; None: it was taken away there."""

    value: Any
    origin: Origin


@dataclass(frozen=True, slots=True)
class Effective:
    """Settings by key after merging, those that were taken away among them."""

    settings: Mapping[str, Sourced] = field(default_factory=dict)

    @classmethod
    def of(cls, origin: Origin, overrides: Overrides) -> Self:
        return cls({key: Sourced(value, origin) for key, value in overrides.values.items()})

    def over(self, lower: Effective) -> Effective:
        """Both together. Where both have a key the higher origin counts, and ours between equals."""
        merged = dict(lower.settings)
        for key, mine in self.settings.items():
            theirs = merged.get(key)
            if theirs is None or theirs.origin <= mine.origin:
                merged[key] = mine
        return Effective(merged)

    def get(self, key: str) -> Any:
        """The value that counts; None when it is not set. Raises KeyError for a key that no setting has."""
        found = self.settings.get(BY_KEY[key].key)
        return None if found is None else found.value

    def for_engine(self, group: str) -> EngineView:
        """What an engine whose own settings are in `group` is to know; what was taken away is not in it.

        An engine's own word for a general setting is folded into that: of the two, the value with the higher
        origin counts, and the more particular one between equals.
        """
        general: dict[str, Sourced] = {}
        own: dict[str, Sourced] = {}
        refined: dict[str, Sourced] = {}
        for key, sourced in self.settings.items():
            setting = BY_KEY[key]
            if sourced.value is None:
                continue
            if setting.group in {"", "sampling"}:
                general[key] = sourced
            elif setting.group == group:
                place = refined if setting.refines else own
                place[setting.refines or setting.name] = sourced
        for key, sourced in refined.items():
            if key not in general or general[key].origin <= sourced.origin:
                general[key] = sourced
        return EngineView(general=general, own=own)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineView:
    """`general` by key (`context_size`, `sampling.top_p`), `own` by the name within the engine's group."""

    general: Mapping[str, Sourced]
    own: Mapping[str, Sourced]


def merge(layers: Iterable[tuple[Origin, Overrides]]) -> Effective:
    """All layers together; of two from one origin the later counts."""
    result = Effective()
    for origin, overrides in layers:
        result = Effective.of(origin, overrides).over(result)
    return result

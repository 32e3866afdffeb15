"""What a setting is: its key in `mrpack.json`, the values it takes, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass

from mrpack.model.overrides.kinds import Kind


@dataclass(frozen=True, slots=True)
class Setting:
    """`key` is `name` or `group.name`; `source` is where its meaning is defined.

    `refines`: the general setting for which this is an engine's own word; of the two, the one that was set
    closer to the request counts.
    """

    key: str
    kind: Kind
    meaning: str
    unit: str = ""
    source: str = ""
    refines: str = ""

    @property
    def group(self) -> str:
        """Empty for settings of no engine that stand at the top."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]

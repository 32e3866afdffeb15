"""What has to run: a model, the engine that was chosen for it, and its settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from mrpack_runtime.engine import ModelBundle
from mrpack_runtime.machine.memory import Memory
from mrpack_runtime.scheduling import EngineKey
from mrpack_runtime.select import EngineChoice
from mrpack_runtime.settings.merged import ModelSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Those with the same key are served by one process: that of the first, under its name.

    `need`: memory of that process, estimated.
    """

    bundle: ModelBundle
    choice: EngineChoice
    settings: ModelSettings
    key: EngineKey
    need: Memory = field(default_factory=Memory)

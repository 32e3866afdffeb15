"""The settings that a model runs with: its own, over them the command line's, in the words of its engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mrpack.model.overrides import (
    OVERRIDES_LIMIT,
    OVERRIDES_PATH,
    Effective,
    Origin,
    Overrides,
    duration_s,
    merge,
    parse_overrides,
)
from mrpack.readable import open_file
from mrpack_runtime.engine import Engine, EngineSettings, ModelBundle, Operation

_SAMPLING: Final = "sampling."
# Docker Model Runner's.
DEFAULT_KEEP_ALIVE_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSettings:
    """What options of `serve` and `run` say, for every model. `threads` is of the machine, not of a model."""

    overrides: Overrides = field(default_factory=Overrides)
    threads: int | None = None
    parallel: int | None = None
    ready_timeout_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """`sampling` are fields of a request that count where the client does not say otherwise.

    `keep_alive_s`: how long the engine stays after its last request; None: for ever.
    """

    engine: EngineSettings
    sampling: Mapping[str, Any]
    keep_alive_s: float | None


def effective_settings(bundle: ModelBundle, command: CommandSettings) -> Effective:
    """All settings of a model with their origins.

    Raises:
        InvalidArtifact: the artifact's settings are malformed.
    """
    return merge(
        [
            (Origin.ARTIFACT, Overrides({"context_size": bundle.config.context_size}))
            if bundle.config.context_size is not None
            else (Origin.ARTIFACT, Overrides()),
            (Origin.ARTIFACT, _carried(bundle)),
            (Origin.COMMAND, command.overrides),
        ]
    )


def own_operation(bundle: ModelBundle, command: CommandSettings) -> Operation:
    """What the model is for, when no request says so."""
    return Operation(effective_settings(bundle, command).get("mode") or Operation.COMPLETION)


def model_settings(
    bundle: ModelBundle, engine: Engine, operation: Operation, command: CommandSettings
) -> ModelSettings:
    """For one engine and operation. Raises as `effective_settings`."""
    view = effective_settings(bundle, command).for_engine(settings_group(engine))
    general = {key: sourced.value for key, sourced in view.general.items()}
    keep_alive = general.get("keep_alive")
    return ModelSettings(
        engine=EngineSettings(
            operation=operation,
            context_size=general.get("context_size"),
            threads=command.threads,
            parallel=command.parallel,
            ready_timeout_s=command.ready_timeout_s,
            own={name: sourced.value for name, sourced in view.own.items()},
        ),
        sampling={
            key.removeprefix(_SAMPLING): value for key, value in general.items() if key.startswith(_SAMPLING)
        },
        keep_alive_s=DEFAULT_KEEP_ALIVE_S if keep_alive is None else duration_s(keep_alive),
    )


def settings_group(engine: Engine) -> str:
    """The group of an engine's own settings: its name without dots, which separate groups from keys."""
    return engine.name.replace(".", "")


def _carried(bundle: ModelBundle) -> Overrides:
    path = bundle.folder / OVERRIDES_PATH
    return parse_overrides(open_file(path).read(limit=OVERRIDES_LIMIT)) if path.is_file() else Overrides()

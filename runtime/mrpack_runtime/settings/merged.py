"""The settings that a model runs with: its own, over them the command line's, in the words of its engine."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mrpack.errors import InvalidArtifact
from mrpack.model.document import parse_document
from mrpack.model.overrides import (
    OVERRIDES_LIMIT,
    OVERRIDES_PATH,
    Effective,
    Imported,
    Origin,
    Overrides,
    duration_s,
    from_generation_config,
    merge,
    parse_overrides,
)
from mrpack.readable import open_file
from mrpack_runtime.confinement import Sandbox
from mrpack_runtime.engine import Engine, EngineSettings, ModelBundle, Operation, RenamesSampling

_LOG: Final = logging.getLogger(__name__)
_SAMPLING: Final = "sampling."
_GENERATION: Final = "generation_config.json"
# Docker Model Runner's.
DEFAULT_KEEP_ALIVE_S: Final = 300.0
_NOTHING: Final = Overrides()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSettings:
    """What options of `serve` and `run` say, for every model. `threads` is of the machine, not of a model.

    `sandbox`: None for what the settings say.
    """

    overrides: Overrides = field(default_factory=Overrides)
    threads: int | None = None
    parallel: int | None = None
    ready_timeout_s: float = 300.0
    sandbox: Sandbox | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """`sampling` are fields of a request, in the engine's words, that count where the client says nothing.

    `keep_alive_s`: how long the engine stays after its last request; None: for ever.
    """

    engine: EngineSettings
    sampling: Mapping[str, Any]
    keep_alive_s: float | None


def effective_settings(
    bundle: ModelBundle, command: CommandSettings, configured: Overrides = _NOTHING
) -> Effective:
    """All settings of a model with their origins; `configured` are those by hand.

    Raises:
        InvalidArtifact: the artifact's settings are malformed.
    """
    size = bundle.config.context_size
    return merge(
        [
            (Origin.MODEL_FILES, _of_model_files(bundle).settings),
            (Origin.OTHER_TOOL, Overrides() if size is None else Overrides({"context_size": size})),
            (Origin.OTHER_TOOL, bundle.imported.settings),
            (Origin.ARTIFACT, _carried(bundle)),
            (Origin.CONFIGURE, configured),
            (Origin.COMMAND, command.overrides),
        ]
    )


def own_operation(
    bundle: ModelBundle, engine: Engine, command: CommandSettings, configured: Overrides = _NOTHING
) -> Operation:
    """What the model is for, when no request says so: some engines have one operation only."""
    return _operation(effective_settings(bundle, command, configured), engine)


def expected_operation(
    mode: str | None, engine: Engine, command: CommandSettings, configured: Overrides
) -> Operation:
    """The same of a model that is not laid out; `mode`: as its artifact says."""
    carried = Overrides({"mode": mode})
    layers = [
        (Origin.ARTIFACT, carried),
        (Origin.CONFIGURE, configured),
        (Origin.COMMAND, command.overrides),
    ]
    return _operation(merge(layers), engine)


def _operation(settings: Effective, engine: Engine) -> Operation:
    mode = settings.get("mode")
    if mode is None and Operation.COMPLETION not in engine.operations:
        return min(engine.operations)
    return Operation(mode or Operation.COMPLETION)


def model_settings(
    bundle: ModelBundle,
    engine: Engine,
    operation: Operation,
    command: CommandSettings,
    configured: Overrides = _NOTHING,
) -> ModelSettings:
    """For one engine and operation. Raises as `effective_settings`.

    What the model's own documents say and no setting of ours does goes to the log.
    """
    for words in (*bundle.imported.ignored, *_of_model_files(bundle).ignored):
        _LOG.info("%s: not taken over: %s", bundle.name, words)
    view = effective_settings(bundle, command, configured).for_engine(settings_group(engine))
    general = {key: sourced.value for key, sourced in view.general.items()}
    renamed = engine.sampling_names if isinstance(engine, RenamesSampling) else {}
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
            renamed.get(name, name): value
            for key, value in general.items()
            if (name := key.removeprefix(_SAMPLING)) != key
        },
        keep_alive_s=DEFAULT_KEEP_ALIVE_S if keep_alive is None else duration_s(keep_alive),
    )


def settings_group(engine: Engine) -> str:
    """The group of an engine's own settings: its name without dots, which separate groups from keys."""
    return engine.name.replace(".", "")


def _carried(bundle: ModelBundle) -> Overrides:
    path = bundle.folder / OVERRIDES_PATH
    return parse_overrides(open_file(path).read(limit=OVERRIDES_LIMIT)) if path.is_file() else Overrides()


def _of_model_files(bundle: ModelBundle) -> Imported:
    """Of documents that were not written for us: one that is malformed says nothing, and ends nothing."""
    path = bundle.folder / _GENERATION
    if not path.is_file():
        return Imported()
    try:
        document = parse_document(open_file(path).read(limit=OVERRIDES_LIMIT), _GENERATION)
    except InvalidArtifact as error:
        return Imported(ignored=(error.message,))
    found = from_generation_config(document)
    return Imported(found.settings, tuple(f"{_GENERATION}: {name}" for name in found.ignored))

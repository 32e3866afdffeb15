"""Which engine serves a model, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mrpack.errors import NotFound, Unsupported
from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import Engine, Installation, caveat
from mrpack_runtime.machine.host import HostFacts


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """`reason` is for people: what decided."""

    engine: Engine
    installation: Installation
    reason: str


def choose_engine(
    config: ModelConfig, engines: Mapping[str, Engine], host: HostFacts, wanted: str | None = None
) -> EngineChoice:
    """The first engine that opens the model's format, can run it here, and is installed.

    `wanted` is an engine's name, or `engine/launcher` for one way to run it: it is taken or refused, never
    replaced. Looks for programs and packages, so it may block for some milliseconds.

    Raises:
        Unsupported: nothing fits; the message names the model's fact and the engine's, the hint what to do.
        NotFound: there is no engine of the wanted name.
    """
    if wanted is not None:
        return _take(config, engines, host, wanted)
    fitting = [engine for engine in engines.values() if config.format in engine.formats]
    if not fitting:
        known = ", ".join(sorted({name for engine in engines.values() for name in engine.formats}))
        raise Unsupported(
            f"no engine opens models of format {config.format or 'unknown'!r}",
            hint=f"known formats: {known}",
        )
    refusals = []
    for engine in fitting:
        if refusal := engine.unsupported_reason(host, config):
            refusals.append(f"{engine.name}: {refusal}")
        elif installations := engine.installations(host):
            best = installations[0]
            found = f"{engine.name} opens {config.format}, and {_describe(best)} was found first"
            return EngineChoice(engine, best, found + caveat(engine))
        else:
            refusals.append(f"{engine.name}: not installed; {engine.install_hint}")
    raise Unsupported(f"no engine here can run this {config.format} model", hint="; ".join(refusals))


def find_engine(engines: Mapping[str, Engine], wanted: str) -> Engine:
    """`wanted` as `choose_engine` takes it. Raises NotFound."""
    name, _, _ = wanted.partition("/")
    if name not in engines:
        raise NotFound(f"no engine is called {name!r}", hint=f"known engines: {', '.join(engines)}")
    return engines[name]


def _take(config: ModelConfig, engines: Mapping[str, Engine], host: HostFacts, wanted: str) -> EngineChoice:
    engine = find_engine(engines, wanted)
    name, _, launcher = wanted.partition("/")
    if config.format not in engine.formats:
        raise Unsupported(
            f"the model has format {config.format or 'unknown'!r}, and {name} opens {_words(engine.formats)}",
            hint=f"leave out the engine, or package the model as {_words(engine.formats)}",
        )
    if refusal := engine.unsupported_reason(host, config):
        raise Unsupported(f"{name} cannot run this model: {refusal}")
    installations = engine.installations(host)
    if not installations:
        raise Unsupported(f"{name} is not installed", hint=engine.install_hint)
    for installation in installations:
        if launcher in {"", installation.launcher}:
            found = f"{wanted} was asked for; {_describe(installation)}"
            return EngineChoice(engine, installation, found + caveat(engine))
    raise Unsupported(
        f"{name} is not installed as {launcher}",
        hint=f"found: {', '.join(installation.launcher for installation in installations)}",
    )


def _describe(installation: Installation) -> str:
    return f"{installation.launcher} {installation.version} ({installation.where})"


def _words(formats: frozenset[str]) -> str:
    return " or ".join(sorted(formats))

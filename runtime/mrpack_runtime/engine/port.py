"""What an engine is: its declaration, what it opens, and the process it asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mrpack.digest import Digest
from mrpack.model.config import ModelConfig
from mrpack.model.overrides import Imported
from mrpack_runtime.engine.symptoms import Symptom
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.machine.memory import Memory
from mrpack_runtime.wire.endpoint import Endpoint


class Operation(StrEnum):
    """What a model is loaded for: the `mode` of overrides and of Docker Model Runner."""

    COMPLETION = "completion"
    EMBEDDING = "embedding"
    RERANKING = "reranking"
    IMAGE_GENERATION = "image-generation"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBundle:
    """A model laid out as files for an engine to open; read-only.

    `name` is the public reference that clients use; `digest` that of the manifest; `folder` holds all files;
    `weights` are in shard order (an engine that wants one path takes the first). `imported`: settings that
    the artifact has in another tool's words, where no file of the folder has them.
    """

    name: str
    digest: Digest
    config: ModelConfig
    folder: Path
    weights: tuple[Path, ...]
    mmproj: Path | None = None
    chat_template: Path | None = None
    adapters: tuple[Path, ...] = ()
    imported: Imported = field(default_factory=Imported)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Run-time settings after merging (docs/overrides.md). None: the engine's own default.

    `context_size` in tokens; `threads` for decoding; `ready_timeout_s` from start to the first healthy
    answer; `own` are the engine's own typed settings, already validated.
    """

    operation: Operation = Operation.COMPLETION
    context_size: int | None = None
    threads: int | None = None
    parallel: int | None = None
    ready_timeout_s: float = 300.0
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """The same for settings that ask for the same process."""
        content = [self.context_size, self.threads, self.parallel, sorted(self.own.items())]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


class Network(StrEnum):
    """What an engine needs besides its endpoint. LOOPBACK: its processes speak to each other."""

    NONE = "none"
    LOOPBACK = "loopback"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Beyond its program, the system, its model and its run folder, when it is confined."""

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    network: Network = Network.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """An engine process to start: exact argument list and environment, never a shell.

    `environment` comes on top of the cleaned one that every engine gets (process.py).
    `health_path` answers 200 when the engine is ready; `quirks` names the layer the gateway puts in front of
    an engine that lacks semantics (None: requests pass through as they are); `why` is shown by `ps --wide`.
    `served_name`: the model's name in requests to the engine, when that is not the bundle's. `symptoms`: what
    its log may say when it fails, the most telling first. `needs` is what it has to be let to, `prefix` the
    command before `argv` that confines it, and `confinement` what that comes to, in words.
    """

    engine: str
    launcher: str
    version: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    endpoint: Endpoint
    health_path: str = "/health"
    ready_timeout_s: float = 300.0
    quirks: str | None = None
    why: str = ""
    served_name: str | None = None
    symptoms: tuple[Symptom, ...] = ()
    needs: Needs = field(default_factory=Needs)
    prefix: tuple[str, ...] = ()
    confinement: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A way to run an engine that was found on this host; `launcher` is unique within its engine."""

    launcher: str
    version: str
    where: str


def find_installation(host: HostFacts, *packages: str) -> Installation | None:
    """In the first Python that has all of `packages`; the launcher is called as the first of them."""
    for python, distribution in host.pythons_with(*packages):
        return Installation(launcher=packages[0], version=distribution.version, where=str(python.executable))
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """What an engine is to be started for, and with.

    `installation` is one of the engine's own; `run_folder` is private (0700), short enough for a socket path.
    """

    installation: Installation
    bundle: ModelBundle
    settings: EngineSettings
    host: HostFacts
    run_folder: Path
    free_port: Callable[[], int]

    @property
    def socket(self) -> Path:
        """Where an engine can listen; llama-server takes a host that ends so for a socket."""
        return self.run_folder / "engine.sock"

    def has_package(self, name: str) -> bool:
        """Whether the Python of the installation has it."""
        where = Path(self.installation.where)
        return any(python.executable == where for python, _ in self.host.pythons_with(name))


class Engine(Protocol):
    """An engine's declaration: one value a file in `engines/`, listed as entry point `mrpack.engines`."""

    name: str
    """As in the URL: `/engines/{name}/v1/…`."""
    formats: frozenset[str]
    """Model formats (`ModelConfig.format`) it can open."""
    operations: frozenset[Operation]
    install_hint: str
    """The command that installs it."""

    def installations(self, host: HostFacts) -> tuple[Installation, ...]:
        """What was found on this host, best first; empty when not installed. Imports no engine."""
        ...

    def unsupported_reason(self, host: HostFacts, config: ModelConfig) -> str | None:
        """Why this host or engine cannot run this model, in words for the user; None when it can."""
        ...

    def launch(self, request: LaunchRequest) -> Launch:
        """The process to start.

        Raises:
            Unsupported: a setting or an operation that this engine does not have.
        """
        ...


@runtime_checkable
class EstimatesMemory(Protocol):
    """An engine that knows what it will take beside the weights."""

    def memory(
        self, installation: Installation, bundle: ModelBundle, settings: EngineSettings, host: HostFacts
    ) -> Memory:
        """An estimate, from headers alone.

        Raises:
            Unsupported, UsageError: as `launch`, of these settings.
            InvalidArtifact: the model's files are malformed.
        """
        ...


@runtime_checkable
class SharesProcesses(Protocol):
    """An engine whose process for one operation serves another, too, with no other command."""

    served_by: Mapping[Operation, Operation]
    """The one whose process does, by operation."""


@runtime_checkable
class RenamesSampling(Protocol):
    """An engine whose requests have other words for some settings below `sampling.`."""

    sampling_names: Mapping[str, str]
    """Its word by ours."""


@runtime_checkable
class KnowsMedia(Protocol):
    """An engine that knows without asking the model whether it takes pictures and sounds."""

    def media_refusal(self, bundle: ModelBundle) -> str | None:
        """Why a request for this model cannot hold any, in words for the user; None when it can."""
        ...


@runtime_checkable
class KnowsTools(Protocol):
    """An engine that would overlook that a model has to call a function."""

    def tool_refusal(self, installation: Installation, bundle: ModelBundle) -> str | None:
        """Why no request can insist on a call, in words for the user; None when it can.

        Raises InvalidArtifact: the model's files are malformed.
        """
        ...


@runtime_checkable
class ExplainsErrors(Protocol):
    """An engine that answers some requests with another status than their fault deserves."""

    def explained(self, status: int, error: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Of an answer with an error: its status and error, in OpenAI's shape, as clients are to see them."""
        ...


@runtime_checkable
class Untested(Protocol):
    """An engine that was written from its documentation: taken when no other can run a model."""

    untested: bool


def caveat(engine: Engine) -> str:
    """What users have to know, to stand behind whatever is said of the engine; most have none."""
    return ", not tested by us" if isinstance(engine, Untested) and engine.untested else ""

"""From a name in a request to what has to run: the model, its engine and its settings."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from mrpack.errors import HostRefused, NotFound, Unsupported
from mrpack.model.config import ModelConfig
from mrpack.model.overrides import Overrides
from mrpack_runtime.engine import Engine, EngineSettings, ModelBundle, Operation, SharesProcesses
from mrpack_runtime.engine.memory_needs import estimate
from mrpack_runtime.machine.host import HostFacts, HostNow
from mrpack_runtime.models.library import Library, LibraryEntry, PullingLibrary
from mrpack_runtime.scheduling import EngineKey
from mrpack_runtime.select import EngineChoice, choose_engine
from mrpack_runtime.settings.merged import CommandSettings, expected_operation, model_settings, own_operation
from mrpack_runtime.settings.store import MemorySettings, SettingsStore
from mrpack_runtime.want import Want

_LOG: Final = logging.getLogger(__name__)
_CACHE_LIMIT: Final = 1024
# A tag that moves is followed as soon as this; settings are at once.
_STAMP_AGE_S: Final = 0.05
_PULLS_AT_ONCE: Final = 4
# By format, architecture and quantization.
_EngineByLabels = dict[tuple[str, str, str], Engine | None]


class EngineMismatch(Unsupported):
    """The engine that was asked for does not open this model's format."""

    http_status = 409
    code = "engine_mismatch"


@dataclass(frozen=True, slots=True)
class Expected:
    """The name of an engine, and what a model is for."""

    engine: str
    operation: Operation


class Resolver:
    """Remembers answers for as long as models, settings and engines stay the same. Belongs to one event loop.

    `default_engine` is used when a request names none, as `choose_engine` takes it. With `pull`, a model that
    is missing is fetched: once for all who ask, and to the end even if they leave. `configured` are settings
    by hand.
    """

    def __init__(
        self,
        library: Library,
        engines: Mapping[str, Engine],
        host: HostNow,
        command: CommandSettings,
        *,
        default_engine: str | None = None,
        pull: bool = False,
        configured: SettingsStore | None = None,
    ) -> None:
        self._configured = configured or MemorySettings()
        self._configured_stamp: Hashable = None
        self._library = library
        self._engines = engines
        self._host = host
        self._command = command
        self._default_engine = default_engine
        self._pull = pull
        self._stamp: tuple[Hashable, Hashable, HostFacts] | None = None
        self._looked = -math.inf
        self._known: dict[tuple[str, str | None, Operation | None], Want] = {}
        self._by_labels: _EngineByLabels = {}
        self._pulls: dict[str, asyncio.Future[None]] = {}
        # Of their own: slow ones must not keep those waiting whose models are here.
        self._pull_threads = ThreadPoolExecutor(_PULLS_AT_ONCE, "pull")

    async def resolve(self, name: str, engine: str | None, operation: Operation | None) -> Want:
        """What serves the model `name`. `engine`: as in the path, None for any; no `operation`: its own.

        Raises:
            NotFound: no such model, or no such engine.
            EngineMismatch: `engine` does not open such models.
            Unsupported: no engine can run it here.
            InvalidArtifact: its settings are malformed.
            MrpackError: as `Library.find` and `PullingLibrary.pull`.
        """
        self._look_for_changes()
        wanted = engine or self._default_engine
        key = (name, wanted, operation)
        known = self._known  # a change that comes while we look puts another in its place
        want = known.get(key)
        if want is None:
            try:
                want = await asyncio.to_thread(self._find, *key)
            except NotFound:
                if not self._pull or not isinstance(self._library, PullingLibrary):
                    raise
                await self._fetch(name, self._library)
                want = await asyncio.to_thread(self._find, *key)
            if len(known) >= _CACHE_LIMIT:
                known.clear()
            if self._current_stamp() == self._stamp:
                known[key] = want
        return want

    async def look(self, name: str) -> Want | None:
        """What serves the model, on any engine and for its own operation; None: it has yet to be pulled.

        Raises:
            MrpackError: as `resolve`.
        """
        try:
            return await asyncio.to_thread(self._find, name, self._default_engine, None)
        except NotFound:
            if not self._pull:
                raise
            return None

    async def expect(self, entries: Iterable[LibraryEntry]) -> list[Expected | None]:
        """What would serve each, as far as labels tell; None: nothing here. Lays no model out."""
        self._look_for_changes()
        known = self._by_labels
        return await asyncio.to_thread(lambda: [self._expect(entry, known) for entry in entries])

    def _expect(self, entry: LibraryEntry, known: _EngineByLabels) -> Expected | None:
        config = entry.config
        labels = (config.format, config.architecture, config.quantization)
        if labels not in known:
            known[labels] = self._engine_for(*labels)
        engine = known[labels]
        if engine is None:
            return None
        configured = Overrides()
        with suppress(HostRefused):  # whoever runs it is told
            configured = self._configured.get(entry.id)
        return Expected(engine.name, expected_operation(entry.mode, engine, self._command, configured))

    def _engine_for(self, model_format: str, architecture: str, quantization: str) -> Engine | None:
        config = ModelConfig(format=model_format, architecture=architecture, quantization=quantization)
        try:
            return choose_engine(config, self._engines, self._host(), self._default_engine).engine
        except Unsupported:
            return None

    def _look_for_changes(self) -> None:
        now = time.monotonic()
        configured = self._configured.stamp()
        if now - self._looked < _STAMP_AGE_S and configured == self._configured_stamp:
            return
        self._looked = now
        self._configured_stamp = configured
        stamp = self._current_stamp()
        if stamp != self._stamp:
            self._known = {}
            self._by_labels = {}
            self._stamp = stamp

    def _current_stamp(self) -> tuple[Hashable, Hashable, HostFacts]:
        return self._library.stamp(), self._configured.stamp(), self._host()

    def _find(self, name: str, wanted: str | None, operation: Operation | None) -> Want:
        bundle = self._library.find(name)
        configured = self._configured.get(bundle.name)
        choice = self._choose(bundle, wanted)
        operation = operation or own_operation(bundle, choice.engine, self._command, configured)
        if operation not in choice.engine.operations:
            raise Unsupported(f"{choice.engine.name} does not serve {operation}")
        settings = model_settings(bundle, choice.engine, operation, self._command, configured)
        return Want(
            bundle=bundle,
            choice=choice,
            settings=settings,
            key=_key(bundle, choice.engine, settings.engine),
            need=estimate(choice.engine, choice.installation, bundle, settings.engine, self._host()),
        )

    def _choose(self, bundle: ModelBundle, wanted: str | None) -> EngineChoice:
        try:
            return choose_engine(bundle.config, self._engines, self._host(), wanted)
        except Unsupported as error:
            engine = self._engines.get((wanted or "").partition("/")[0])
            if engine is None or bundle.config.format in engine.formats:
                raise
            raise EngineMismatch(error.message, hint=error.hint) from error

    async def _fetch(self, name: str, library: PullingLibrary) -> None:
        task = self._pulls.get(name)
        if task is None:
            _LOG.info("pulling %s", name)
            loop = asyncio.get_running_loop()
            task = self._pulls[name] = loop.run_in_executor(self._pull_threads, library.pull, name)
            task.add_done_callback(lambda done: self._end_pull(name, done))
        await asyncio.shield(task)

    def _end_pull(self, name: str, task: asyncio.Future[None]) -> None:
        del self._pulls[name]
        error = None if task.cancelled() else task.exception()
        if error is not None:  # those who asked may be gone
            _LOG.warning("pulling %s failed: %s", name, error)


def _key(bundle: ModelBundle, engine: Engine, settings: EngineSettings) -> EngineKey:
    operation = settings.operation
    if isinstance(engine, SharesProcesses):
        operation = engine.served_by.get(operation, operation)
    return EngineKey(bundle.digest, engine.name, operation, settings.fingerprint)

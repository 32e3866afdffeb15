"""From a name in a request to what has to run: the model, its engine and its settings."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Hashable, Mapping
from typing import Final

from mrpack.errors import NotFound, Unsupported
from mrpack_runtime.engine import Engine, ModelBundle, Operation
from mrpack_runtime.host import HostFacts, HostNow
from mrpack_runtime.library import Library, PullingLibrary
from mrpack_runtime.memory_needs import estimate
from mrpack_runtime.scheduling import EngineKey
from mrpack_runtime.select import EngineChoice, choose_engine
from mrpack_runtime.settings import CommandSettings, model_settings, own_operation
from mrpack_runtime.settings_store import MemorySettings, SettingsStore
from mrpack_runtime.want import Want

_LOG: Final = logging.getLogger(__name__)
_CACHE_LIMIT: Final = 1024
# A tag that moves is followed as soon as this; settings are at once.
_STAMP_AGE_S: Final = 0.05


class EngineMismatch(Unsupported):
    """The engine that was asked for does not open this model's format."""

    http_status = 409
    code = "engine_mismatch"


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
        self._pulls: dict[str, asyncio.Task[None]] = {}

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
        want = self._known.get(key)
        if want is None:
            try:
                want = await asyncio.to_thread(self._find, *key)
            except NotFound:
                if not self._pull or not isinstance(self._library, PullingLibrary):
                    raise
                await self._fetch(name, self._library)
                want = await asyncio.to_thread(self._find, *key)
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
            if self._current_stamp() == self._stamp:
                self._known[key] = want
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

    def _look_for_changes(self) -> None:
        now = time.monotonic()
        configured = self._configured.stamp()
        if now - self._looked < _STAMP_AGE_S and configured == self._configured_stamp:
            return
        self._looked = now
        self._configured_stamp = configured
        stamp = self._current_stamp()
        if stamp != self._stamp:
            self._known.clear()
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
            key=EngineKey(bundle.digest, choice.engine.name, operation, settings.engine.fingerprint),
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
            task = self._pulls[name] = asyncio.create_task(asyncio.to_thread(library.pull, name))
            task.add_done_callback(lambda done: self._end_pull(name, done))
        await asyncio.shield(task)

    def _end_pull(self, name: str, task: asyncio.Task[None]) -> None:
        del self._pulls[name]
        error = None if task.cancelled() else task.exception()
        if error is not None:  # those who asked may be gone
            _LOG.warning("pulling %s failed: %s", name, error)

"""The life of one engine in the pool: its process, the connections to it, and how it ended."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final, Protocol

from mrpack.errors import EngineFailed, MrpackError
from mrpack.store.verifying import StillWanted
from mrpack_runtime.processes.process import EngineProcess
from mrpack_runtime.quirks import QUIRKS, Quirks
from mrpack_runtime.scheduling import Resident
from mrpack_runtime.want import Want
from mrpack_runtime.wire.upstream import Upstream

_LOG: Final = logging.getLogger(__name__)


class Workshop(Protocol):
    """Makes and clears away engine processes; both may block and are called in threads."""

    def make(self, want: Want, still_wanted: StillWanted) -> EngineProcess:
        """A process that is not started, with a run folder of its own.

        Calls `still_wanted` while that takes long.

        Raises:
            Unsupported, InvalidArtifact: this model or these settings do not fit the engine.
            HostRefused: no run folder.
        """
        ...

    def clear(self, process: EngineProcess) -> None:
        """After its end."""
        ...


class Life:
    """What a Resident is in the real world. `error` says why it is not ready, or why it ended.

    `settled` is set when it is ready or failed, `ended` when nothing is left of it; `turn` is held during an
    exchange with an engine that can do one thing at a time.
    """

    def __init__(self, resident: Resident, want: Want) -> None:
        self.resident = resident
        self.want = want
        self.process: EngineProcess | None = None
        self.upstream: Upstream | None = None
        self.quirks: Quirks | None = None
        self.turn = asyncio.Lock()
        self.error: MrpackError | None = None
        self.settled = asyncio.Event()
        self.ended = asyncio.Event()
        self._stop_wanted = False

    @property
    def name(self) -> str:
        """The model's, as whoever asked first called it."""
        return self.want.bundle.name

    @property
    def served_name(self) -> str:
        """What the engine calls it in requests and answers."""
        launch = self.process.launch if self.process else None
        return (launch and launch.served_name) or self.name

    async def load(self, workshop: Workshop) -> None:
        """Raises as `Workshop.make` and `EngineProcess.ensure_ready`."""
        process = self.process = await asyncio.to_thread(workshop.make, self.want, self._ensure_wanted)
        self._ensure_wanted()
        launch = process.launch
        _LOG.info("loading %s with %s (%s)", self.name, launch.engine, launch.launcher)
        await process.ensure_ready()
        self.upstream = Upstream(launch.endpoint)
        self.quirks = QUIRKS[launch.quirks]() if launch.quirks is not None else None
        _LOG.info("loaded %s in %.2f s, process %s", self.name, process.load_time_s or 0.0, process.pid)

    def _ensure_wanted(self) -> None:
        if self._stop_wanted:
            raise EngineFailed(f"{self.name} was unloaded while it was being loaded")

    async def last(self) -> None:
        """Returns at the end of its process, which `error` explains then."""
        assert self.process is not None  # noqa: S101  # it was loaded
        await self.process.wait_exit()
        try:
            await self.process.ensure_ready()
        except EngineFailed as error:
            self.error = error

    async def ends_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ended.wait()
        return self.ended.is_set()

    async def stop(self) -> None:
        """Makes `load` fail or `last` return."""
        self._stop_wanted = True
        if self.process is not None:
            await self.process.stop()

    def end(self) -> None:
        """Cuts its connections and tells everyone."""
        if self.upstream is not None:
            self.upstream.close()
        elif self.error is None:  # a bug, which its task reports: those who wait must not try for ever
            self.error = EngineFailed(f"{self.name} could not be loaded")
        self.settled.set()
        self.ended.set()

"""A gateway of one's own on a Unix socket, in a thread, for as long as a block lasts."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mrpack.errors import MrpackError
from mrpack.workspace import Workspace
from mrpack_runtime.assembly import GatewayOptions, build_gateway
from mrpack_runtime.gateway.app import serving
from mrpack_runtime.machine.host import HostNow
from mrpack_runtime.processes.run_folders import make_run_folder, run_base
from mrpack_runtime.wire.client import GatewayClient
from mrpack_runtime.wire.endpoint import UnixEndpoint

# Whoever leaves the block wants no more answers.
_DRAIN_S: Final = 0.0


class _Thread(threading.Thread):
    def __init__(self, workspace: Workspace, host: HostNow, options: GatewayOptions, socket: Path) -> None:
        super().__init__(name="private gateway", daemon=True)
        self._workspace = workspace
        self._host = host
        self._options = options
        self._socket = socket
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave = asyncio.Event()
        self.listening = threading.Event()
        self.error: MrpackError | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._main())
        except MrpackError as error:
            self.error = error
        finally:
            self.listening.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        gateway = build_gateway(self._workspace, self._host, self._options)
        async with serving(gateway, UnixEndpoint(self._socket), drain_s=_DRAIN_S):
            self.listening.set()
            await self._leave.wait()

    def stop(self) -> None:
        if self._loop is not None and self.is_alive():
            self._loop.call_soon_threadsafe(self._leave.set)
        self.join()


@contextmanager
def private_gateway(workspace: Workspace, host: HostNow, options: GatewayOptions) -> Iterator[GatewayClient]:
    """A client of a gateway that nobody else can reach; no engine outlives the block.

    Raises:
        HostRefused: the socket cannot be made.
    """
    folder = make_run_folder(run_base())
    socket = folder / "gateway.sock"
    thread = _Thread(workspace, host, options, socket)
    thread.start()
    try:
        thread.listening.wait()
        if thread.error is not None:
            raise thread.error
        yield GatewayClient(UnixEndpoint(socket))
    finally:
        thread.stop()
        shutil.rmtree(folder, ignore_errors=True)

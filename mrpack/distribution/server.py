"""A layout served as a registry: the server of `mrpack registry serve`, and of tests in their own process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Self

from mrpack.distribution.connection import Body
from mrpack.distribution.listener import Limits, Listener
from mrpack.distribution.message import Request, Response
from mrpack.distribution.registry import Registry, Rules
from mrpack.store.layout import OciLayout


class RegistryServer:
    """Listens from construction on; use it as a context manager, or call `close` after `run`.

    Raises:
        HostRefused: the port is taken, or not for us.
        UsageError: no such host.
    """

    def __init__(
        self,
        layout: OciLayout,
        rules: Rules | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
    ) -> None:
        self._listener = Listener(host, port, self._answer, limits=limits or Limits(), tick=self._tick)
        self._registry = Registry(layout, rules or Rules(), check_host=self._listener.is_loopback)

    def _answer(self, request: Request, body: Body) -> Response:
        return self._registry.answer(request, body)

    def _tick(self) -> None:
        self._registry.tick()

    @property
    def address(self) -> str:
        """`IP:PORT`, as the registry of a reference."""
        return self._listener.address

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone can connect."""
        return self._listener.is_loopback

    def run(self) -> None:
        """Serve in this thread until `stop`; running requests get a few seconds then."""
        self._listener.run()

    def stop(self) -> None:
        """For any thread and for signal handlers."""
        self._listener.stop()

    def close(self) -> None:
        """After `run` has returned, or instead of it."""
        self._listener.close()
        self._registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


@contextlib.contextmanager
def serving(
    layout: OciLayout,
    *,
    writable: bool = False,
    rules: Rules | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    limits: Limits | None = None,
) -> Iterator[str]:
    """Serve `layout` from a thread; yields the address. `writable` allows pushes and deletions."""
    rules = rules or Rules(writable=writable, deletes=writable)
    with RegistryServer(layout, rules, host=host, port=port, limits=limits) as server:
        thread = threading.Thread(target=server.run, name="registry")
        thread.start()
        try:
            yield server.address
        finally:
            server.stop()
            thread.join()

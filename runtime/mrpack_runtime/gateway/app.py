"""The gateway as a program: listens, preloads, runs until it is told to stop, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import signal
import socket
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from ssl import SSLContext
from typing import Final, TypeVar

from mrpack.errors import HostRefused, from_os_error
from mrpack_runtime.gateway.call import Gateway
from mrpack_runtime.gateway.connections import GatewayServer
from mrpack_runtime.gateway.dispatch import Dispatcher
from mrpack_runtime.gateway.guard import check_policy
from mrpack_runtime.wire.endpoint import Endpoint, TcpEndpoint, UnixEndpoint

_LOG: Final = logging.getLogger(__name__)
_BACKLOG: Final = 1024
_CONNECTION_LIMIT: Final = 8192
# Logs, engines' pipes, files of models.
_OTHER_FILES: Final = 128
# Requests under way get this long after SIGTERM; a second signal ends the wait.
DRAIN_S: Final = 30.0
_T = TypeVar("_T")


def run_loop(main: Coroutine[None, None, _T]) -> _T:
    """Runs `main` with uvloop where it is installed, and as many open files as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS has a lower limit than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if find_spec("uvloop") is not None:
        import uvloop  # noqa: PLC0415  # optional

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


@asynccontextmanager
async def serving(
    gateway: Gateway, endpoint: Endpoint, *, drain_s: float = DRAIN_S, tls: SSLContext | None = None
) -> AsyncIterator[Endpoint]:
    """Listens until the block ends, then drains. Gives the endpoint with the port that was taken.

    `tls`: not for Unix sockets.

    Raises:
        UsageError, AccessDenied: as `check_policy`.
        HostRefused: the port or socket is taken, or the address is of no machine or another one.
    """
    check_policy(gateway.policy)
    if gateway.log_prompts:
        _LOG.warning("prompts and answers are written to this log, as --log-prompts wants it")
    dispatcher = Dispatcher(gateway)
    server = GatewayServer(
        dispatcher.answer,
        gateway.deadlines,
        limit=_connection_limit(),
        tls=tls,
        error_shape=dispatcher.error_shape,
    )
    try:
        async with _listening(server, endpoint) as bound:
            yield bound
    finally:
        await gateway.pool.drain(drain_s)
        await server.close(grace_s=1.0)


async def serve(
    gateway: Gateway,
    endpoint: Endpoint,
    *,
    preload: tuple[str, ...] = (),
    tls: SSLContext | None = None,
    on_listening: Callable[[Endpoint], None],
    on_loaded: Callable[[str], None],
) -> int:
    """Runs until SIGTERM or SIGINT; the exit code. Models of `preload` are loaded and stay.

    Raises:
        MrpackError: as `serving`; or a model of `preload` cannot run here, before anything listens.
    """
    for name in preload:
        if (want := await gateway.resolver.look(name)) is not None:
            gateway.pool.check(want)
    stop = asyncio.Event()
    codes: list[int] = []
    loop = asyncio.get_running_loop()

    def on_signal(code: int) -> None:
        codes.append(code)
        stop.set()
        if len(codes) > 1:
            gateway.pool.hurry()

    loop.add_signal_handler(signal.SIGTERM, on_signal, 0)
    loop.add_signal_handler(signal.SIGINT, on_signal, 130)
    async with serving(gateway, endpoint, tls=tls) as bound:
        on_listening(bound)
        loading = asyncio.create_task(_preload(gateway, preload, on_loaded))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                loading.result()
                await stopping
        finally:
            loading.cancel()
            stopping.cancel()
    return codes[0] if codes else 0


def _connection_limit() -> int:
    """Every client may need a second open file, to its engine."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _CONNECTION_LIMIT
    return max(1, min(_CONNECTION_LIMIT, (soft - _OTHER_FILES) // 2))


async def _preload(gateway: Gateway, models: tuple[str, ...], on_loaded: Callable[[str], None]) -> None:
    for name in models:
        want = await gateway.resolver.resolve(name, None, None)
        (await gateway.pool.acquire(want, pinned=True)).release()
        on_loaded(want.bundle.name)


@asynccontextmanager
async def _listening(server: GatewayServer, endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    loop = asyncio.get_running_loop()
    if isinstance(endpoint, UnixEndpoint):
        _remove_stale(endpoint.path)
        try:
            listener = await loop.create_unix_server(server, sock=_bind_unix(endpoint.path), backlog=_BACKLOG)
        except OSError as error:
            raise from_os_error(error, f"listen on {endpoint.path}") from error
        bound: Endpoint = endpoint
    else:
        try:
            listener = await loop.create_server(server, endpoint.host, endpoint.port, backlog=_BACKLOG)
        except OSError as error:
            raise HostRefused(
                f"cannot listen on {endpoint.host}:{endpoint.port}: {_reason(error)}", hint=_hint(error)
            ) from error
        bound = TcpEndpoint(listener.sockets[0].getsockname()[1], endpoint.host)
    try:
        yield bound
    finally:
        listener.close()
        if isinstance(endpoint, UnixEndpoint):
            endpoint.path.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    """Without the address, which asyncio puts into the words of the system."""
    if error.errno is None or isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _hint(error: OSError) -> str | None:
    if error.errno == errno.EADDRINUSE:
        return "another gateway may run there: see `mrpack status`, or take another --port"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "--host is an address of this machine; 0.0.0.0 is all of them"
    return None


def _bind_unix(path: Path) -> socket.socket:
    """A socket that only we may connect to, from its first moment on."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener


def _remove_stale(path: Path) -> None:
    """Removes a socket that nobody listens on any more. Raises HostRefused when somebody does."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise HostRefused(f"{path} exists and is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise from_os_error(error, f"look at {path}") from error
        else:
            raise HostRefused(f"another gateway listens on {path}")

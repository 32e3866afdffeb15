"""When an engine is ready: its health route answers 200, and the answer is really its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from mrpack.errors import EngineFailed
from mrpack_runtime.wire.endpoint import Endpoint, TcpEndpoint, UnixEndpoint

# Waiting costs at most 5 % of the load time, and no more than 50 attempts a second.
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.25
_PAUSE_SHARE: Final = 0.05
# An engine may accept before it can answer; the attempt is repeated.
_ATTEMPT_S: Final = 2.0
# /proc/net/tcp: include/net/tcp_states.h
_LISTEN: Final = "0A"


async def wait_ready(endpoint: Endpoint, health_path: str, leash_pid: int) -> None:
    """Returns at the first healthy answer. Knows no deadline and no exit: cancel it.

    Raises:
        EngineFailed: a process that is not below `leash_pid` listens on the port.
    """
    begin = time.monotonic()
    while not await _is_healthy(endpoint, health_path):
        share = (time.monotonic() - begin) * _PAUSE_SHARE
        await asyncio.sleep(min(max(share, _FIRST_PAUSE_S), _LONGEST_PAUSE_S))
    if isinstance(endpoint, TcpEndpoint) and not owns_port(leash_pid, endpoint.port):
        raise EngineFailed(f"another process answers on port {endpoint.port}", hint="try again")


async def _is_healthy(endpoint: Endpoint, path: str) -> bool:
    with suppress(OSError, TimeoutError, asyncio.LimitOverrunError, asyncio.IncompleteReadError):
        async with asyncio.timeout(_ATTEMPT_S):
            if isinstance(endpoint, UnixEndpoint):
                reader, writer = await asyncio.open_unix_connection(endpoint.path)
            else:
                reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                status = await reader.readuntil(b"\r\n")
            finally:
                writer.close()
            return status.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
    return False


def owns_port(ancestor: int, port: int) -> bool:
    """Whether `ancestor` or a process below it listens on this port; true where /proc cannot tell."""
    sockets = {f"socket:[{inode}]" for inode in _listeners(port)}
    if not Path("/proc/net/tcp").exists():
        return True
    return any(not sockets.isdisjoint(_open_files(pid)) for pid in _descendants(ancestor))


def _listeners(port: int) -> Iterator[str]:
    with suppress(OSError):
        for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _descendants(pid: int) -> Iterator[int]:
    yield pid
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in listing.read_text(encoding="ascii").split():
                yield from _descendants(int(child))


def _open_files(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(OSError):
            found.add(str(entry.readlink()))
    return found

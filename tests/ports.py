"""Ports of loopback where nobody listens, and that nobody is given meanwhile."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Below those that Linux, macOS and Windows give to who asks for any.
_OURS = range(20_000, 30_000)


@contextmanager
def closed_port() -> Iterator[int]:
    """Who connects is refused: it belongs to a socket that does not listen. On Linux, who is told it may."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def lasting_port() -> int:
    """For a server that is stopped and started again: no other takes it in between."""
    for port in random.sample(_OURS, 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("all ports are taken")

"""What the system knows of a client: where it is, and what it has not taken yet."""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import sys
import termios
from contextlib import suppress
from typing import Final

_NETWORK_BITS: Final = 64


def peer_address(peer: object) -> str | None:
    """Of a client on another machine; of IPv6 the network, all of which one machine may have."""
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0]) if isinstance(peer, tuple) else None
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address is None or address.is_loopback:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _NETWORK_BITS), strict=False))
    return str(address)


def untaken_size(transport: asyncio.Transport) -> int:
    """Bytes that were written and have not left this machine.

    Those that the system keeps count, where it tells: it takes megabytes at once, then nothing for minutes.
    """
    size = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    with suppress(OSError, ValueError):
        queued = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        size += int.from_bytes(queued, sys.byteorder)
    return size

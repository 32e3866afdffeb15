"""Reach: how near an address lies, so that no server sends us to a place nearer than its own."""

from __future__ import annotations

import ipaddress
from enum import IntEnum
from typing import Final

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# IANA special-purpose registries: what a packet to these reaches is this host or this link.
_LOCAL: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
        "::/127", "fe80::/10", "ff00::/8",
    )
)  # fmt: skip
# RFC 6052: the last 32 bits are an IPv4 address.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class Reach(IntEnum):
    """The greater, the nearer: `a <= b` reads "a server at b may send us to a"."""

    PUBLIC = 0
    PRIVATE = 1
    LOCAL = 2


def reach_of(address: str) -> Reach:
    """Of a numeric address; a scope (`fe80::1%eth0`) is ignored, IPv4 inside IPv6 is looked at."""
    ip = _unwrap(ipaddress.ip_address(address.partition("%")[0]))
    if any(ip in network for network in _LOCAL if network.version == ip.version):
        return Reach.LOCAL
    return Reach.PUBLIC if ip.is_global else Reach.PRIVATE


def _unwrap(ip: _Address) -> _Address:
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    inner = ip.ipv4_mapped or ip.sixtofour
    if inner is None and ip in _NAT64:
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return inner or ip

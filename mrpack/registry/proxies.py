"""Which proxy, if any, leads to an origin."""

from __future__ import annotations

import base64
import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

from mrpack.errors import UsageError
from mrpack.registry.secret import Secret
from mrpack.registry.settings import ProxySettings
from mrpack.registry.url import Origin, is_loopback_name


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; `authorization` is the value of `Proxy-Authorization`, shown to it alone."""

    host: str
    port: int
    authorization: Secret | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """`http://[user:password@]host[:port]`, the scheme may be missing. Errors never repeat the text."""
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host, port = None, 0
            parts = urlsplit("")
        if parts.scheme != "http" or not host:
            raise UsageError(
                "the proxy setting is not usable",
                hint="write http://host:port; TLS to the proxy and SOCKS are not spoken",
            )
        if parts.username is None:
            return cls(host, port)
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(host, port, Secret("Basic " + base64.b64encode(user.encode()).decode()))


def proxy_for(origin: Origin, settings: ProxySettings) -> Proxy | None:
    """None for a direct connection. Loopback is never reached through a proxy."""
    text = settings.https if origin.scheme == "https" else settings.http
    if not text or is_loopback_name(origin.host) or _is_exempt(origin, settings.no_proxy):
        return None
    return Proxy.parse(text)


def _is_exempt(origin: Origin, no_proxy: str) -> bool:
    """`NO_PROXY` as Go reads it: `*`, domains with all under them, addresses, CIDR blocks; ports optional."""
    for entry in filter(None, (part.strip().lower() for part in no_proxy.split(","))):
        name, colon, port = entry.rpartition(":")
        if not (colon and port.isdigit() and (":" not in name or name.startswith("["))):
            name, port = entry, ""
        if port in {"", str(origin.port)} and _covers(name, origin.host):
            return True
    return False


def _covers(entry: str, host: str) -> bool:
    if entry == "*":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    domain = entry.removeprefix("*").removeprefix(".")
    return host.endswith(f".{domain}") or (host == domain == entry)

"""Origin and Url: where a request goes, and where an answer may lead."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Final, Self
from urllib.parse import quote, urljoin, urlsplit

from mrpack.errors import RegistryUnavailable

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")
# RFC 3986 has no blanks, controls, quotes or backslashes; parsers disagree on what they mean.
_FORBIDDEN = re.compile(r"[^\x21-\x7e]|[\\\"<>^`{|}]")
_LENGTH_LIMIT: Final = 16_384


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Scheme, host and port: the only party that may be shown what belongs to it. IPv6 without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """As a `Host` header wants it: no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def host_and_port(self) -> str:
        """With the port in any case, as CONNECT wants it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """By name alone: nothing is resolved."""
        return is_loopback_name(self.host)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute http or https URL. `target` is the path with the query, and starts with a slash."""

    origin: Origin
    target: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of foreign origin. Raises RegistryUnavailable: another scheme, user-info, or anything doubtful."""
        if len(text) > _LENGTH_LIMIT or _FORBIDDEN.search(text):
            raise _bad(text)
        try:
            parts = urlsplit(text)
            port = parts.port
            host = (parts.hostname or "").rstrip(".")
        except ValueError:
            raise _bad(text) from None
        if parts.scheme not in _DEFAULT_PORTS or "@" in parts.netloc or port == 0 or not _is_host(host):
            raise _bad(text)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(Origin(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme]), target)

    def follow(self, location: str | None) -> Self:
        """Where a `Location` in an answer from here leads; it may be relative.

        Raises RegistryUnavailable: no or no usable location, or a step from https down to http.
        """
        if not location:
            raise RegistryUnavailable(f"{self.origin}: an answer without the Location it needs")
        if len(location) > _LENGTH_LIMIT or _FORBIDDEN.search(location):
            raise _bad(location)
        try:
            joined = urljoin(str(self), location)
        except ValueError:
            raise _bad(location) from None
        url = type(self).parse(joined)
        if self.origin.scheme == "https" and url.origin.scheme == "http":
            raise RegistryUnavailable(
                f"{self.origin} leads to plain http on {url.origin.host}, which is refused",
                hint="a proxy in front of the registry has to pass X-Forwarded-Proto: https",
            )
        return url

    def with_query(self, key: str, value: str) -> Self:
        """One more parameter; those that are there stay as they are."""
        joint = "&" if "?" in self.target else "?"
        return replace(self, target=f"{self.target}{joint}{quote(key, safe='')}={quote(value, safe='')}")

    @property
    def shown(self) -> str:
        """For messages and logs: without the query, which may hold a signature."""
        return f"{self.origin}{self.target.partition('?')[0]}"

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"


def is_loopback_name(host: str) -> bool:
    """`localhost`, a name under it, or a loopback address. Nothing is resolved."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return False
        return "%" not in host
    return bool(_HOST.fullmatch(host))


def _bad(text: str) -> RegistryUnavailable:
    return RegistryUnavailable(
        f"the registry answered with an unusable address: {text.partition('?')[0][:100]!r}"
    )

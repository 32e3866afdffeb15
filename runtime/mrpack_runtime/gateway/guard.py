"""Who may talk to the gateway: Host, Origin, API key and scope, as pure functions over header values."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from mrpack.errors import AccessDenied, UsageError
from mrpack_runtime.gateway.errors import Forbidden, KeyRequired
from mrpack_runtime.protocols.refusal import RequestRefused

_HOST = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")
# In the small letters that browsers write; any port is `*`.
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?:[0-9]{1,5}|\*))?")
_TOKEN_LIST = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~ ,-]{1,2048}")
_PREFLIGHT_AGE_S: Final = 600


class Scope(StrEnum):
    """What a route lets one do."""

    OPEN = "open"
    """Says that the gateway lives, no more: needs no key."""
    INFERENCE = "inference"
    MANAGEMENT = "management"
    """Changes what runs, or shows logs: beyond this machine only with a key of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the user allowed.

    `hosts` are names beyond the loopback ones; `origins` as browsers write them, with `*` for any port or for
    any origin at all. `key_hashes` are SHA-256 digests; empty: no key is asked for. `management_hashes`:
    keys for routes of management, which no other key opens then. `beyond_loopback` says that other machines
    can connect, `check_host` is off for Unix sockets, which browsers cannot reach.
    """

    hosts: frozenset[str] = frozenset()
    origins: tuple[str, ...] = ()
    key_hashes: tuple[bytes, ...] = ()
    management_hashes: tuple[bytes, ...] = ()
    beyond_loopback: bool = False
    check_host: bool = True


def hash_key(key: str) -> bytes:
    """Keys are compared by hash: in constant time whatever their lengths."""
    return hashlib.sha256(key.encode()).digest()


@lru_cache(maxsize=256)
def is_host_allowed(host: str, policy: Policy) -> bool:
    """Whether a Host header names us. A name that only its owner's DNS points here is DNS rebinding.

    An address cannot be rebound: beyond loopback any is fine.
    """
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = (match["six"] or match["name"]).lower().rstrip(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost") or name in policy.hosts
    return policy.beyond_loopback or address.is_loopback or name in policy.hosts


def is_origin_allowed(origin: str, policy: Policy) -> bool:
    """Whether a web page of this origin may use the gateway; none may by default."""
    for allowed in policy.origins:
        if allowed in ("*", origin):
            return True
        if allowed.endswith(":*"):
            base = allowed[:-2]
            port = origin.removeprefix(f"{base}:")
            if origin == base or (port != origin and port.isascii() and port.isdecimal()):
                return True
    return False


def find_key(headers: Mapping[str, str]) -> str | None:
    """`Authorization: Bearer …`, or `x-api-key` as Anthropic's clients send it."""
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("X-Api-Key")


def is_key_valid(key: str | None, hashes: tuple[bytes, ...]) -> bool:
    """Compares with every key, and takes as long for a wrong one."""
    hashed = hash_key(key or "")
    return sum(hmac.compare_digest(hashed, known) for known in hashes) > 0 and key is not None


def check_sender(hosts: list[str], origin: str | None, policy: Policy) -> None:
    """For every request, before its route is known. `hosts` are all Host headers.

    Raises:
        RequestRefused: no Host, or several.
        Forbidden: a Host that is not ours, or an Origin that was not allowed.
    """
    if policy.check_host:
        if len(hosts) != 1:
            raise RequestRefused("a request needs exactly one Host header")
        if not is_host_allowed(hosts[0], policy):
            raise Forbidden("the Host header names another machine", hint="mrpack serve --allow-host NAME")
    if origin is not None and not is_origin_allowed(origin, policy):
        raise Forbidden("web pages of this origin are not allowed", hint="mrpack serve --allow-origin ORIGIN")


def check_scope(scope: Scope, headers: Mapping[str, str], policy: Policy) -> None:
    """Raises KeyRequired or Forbidden unless the sender may use routes of this scope."""
    if scope is Scope.OPEN or may_manage(headers, policy):
        return
    if scope is Scope.MANAGEMENT and policy.management_hashes:
        raise KeyRequired("a key for management is needed", hint="send Authorization: Bearer KEY")
    if policy.key_hashes and not is_key_valid(find_key(headers), policy.key_hashes):
        raise KeyRequired("a valid API key is needed", hint="send Authorization: Bearer KEY")
    if scope is Scope.MANAGEMENT and policy.beyond_loopback:
        raise Forbidden(
            "management routes are served on loopback and Unix sockets only",
            hint="mrpack serve --management-key-file FILE lets others in with a key",
        )


def may_manage(headers: Mapping[str, str], policy: Policy) -> bool:
    """Whether the sender has a key for management; it is good for everything else, too."""
    return bool(policy.management_hashes) and is_key_valid(find_key(headers), policy.management_hashes)


def check_policy(policy: Policy) -> None:
    """What the user allowed has to mean something.

    Raises:
        UsageError: an origin that no web page can have.
        AccessDenied: other machines could connect without a key.
    """
    for origin in policy.origins:
        if not _ORIGIN.fullmatch(origin):
            raise UsageError(
                f"{origin!r} is no origin of web pages",
                hint="write http://localhost:3000, http://localhost:* or *, without a path",
            )
    if policy.beyond_loopback and not policy.key_hashes:
        raise AccessDenied(
            "other machines could use the gateway without a key",
            hint="give --api-key-file, or listen on 127.0.0.1",
        )


def is_loopback(host: str) -> bool:
    """Whether listening on this address keeps other machines out."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def cors_headers(origin: str | None, policy: Policy) -> dict[str, str]:
    """For any answer. Credentials (cookies) are never allowed: keys travel in a header.

    The answer depends on the Origin, also for requests that have none: caches must know.
    """
    if not policy.origins:
        return {}
    if origin is None:
        return {"Vary": "Origin"}
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}


def preflight_headers(methods: tuple[str, ...], wanted_headers: str) -> dict[str, str]:
    """The answer to a browser's OPTIONS, for an origin that is allowed; it comes on top of `cors_headers`.

    Header names are allowed as asked for: SDKs send many of their own.
    """
    headers = {
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Max-Age": str(_PREFLIGHT_AGE_S),
        "Vary": "Origin, Access-Control-Request-Headers",
    }
    if _TOKEN_LIST.fullmatch(wanted_headers):
        headers["Access-Control-Allow-Headers"] = wanted_headers
    return headers

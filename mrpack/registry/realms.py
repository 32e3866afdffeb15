"""Which token service a registry may send us to, and whether it is shown the registry's credentials."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from mrpack.errors import AccessDenied
from mrpack.registry.known import may_see_credentials
from mrpack.registry.reach import Reach
from mrpack.registry.url import Origin, Url, is_loopback_name

# Names under which strangers live side by side, besides the public suffixes of countries.
_SHARED_DOMAINS: Final = frozenset(
    {
        "amazonaws.com", "aliyuncs.com", "azurecr.io", "azurewebsites.net", "cloudapp.net", "cloudfront.net",
        "fly.dev", "github.io", "gitlab.io", "googleusercontent.com", "herokuapp.com", "jfrog.io", "ngrok.io",
        "netlify.app", "onrender.com", "pages.dev", "run.app", "trycloudflare.com", "vercel.app", "web.app",
        "windows.net", "workers.dev",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RealmRule:
    """`credentials`: may be shown them. `nearest`: the nearest address that may be dialled."""

    credentials: bool
    nearest: Reach


def judge_realm(realm: Url, registry: Origin, registry_reach: Reach, trusted: Collection[str]) -> RealmRule:
    """`registry_reach`: where the registry was reached; `trusted`: `host` or `host:port`, the user's choice.

    Raises AccessDenied: a registry with TLS names a token service without.
    """
    service = realm.origin
    if service == registry:
        return RealmRule(credentials=True, nearest=Reach.LOCAL)
    if service.scheme == "http" and registry.scheme == "https":
        raise AccessDenied(f"{registry} names a token service on plain http, {realm.shown}, which is refused")
    if service.host in trusted or service.host_and_port in trusted:
        return RealmRule(credentials=True, nearest=Reach.LOCAL)
    encrypted = service.scheme == "https"
    if _is_same_machine(service, registry):
        # On plain http, whoever listens on another port may be another user of the machine.
        return RealmRule(credentials=encrypted, nearest=Reach.LOCAL)
    if encrypted and (
        _is_same_site(service.host, registry.host) or may_see_credentials(registry.host, service.host)
    ):
        return RealmRule(credentials=True, nearest=min(registry_reach, Reach.PRIVATE))
    return RealmRule(credentials=False, nearest=Reach.PUBLIC)


def _is_same_machine(one: Origin, other: Origin) -> bool:
    return one.host == other.host or (is_loopback_name(one.host) and is_loopback_name(other.host))


def _is_same_site(one: str, other: str) -> bool:
    site = site_of(one)
    return site is not None and site == site_of(other)


def site_of(host: str) -> str | None:
    """The registrable domain, estimated without the public suffix list; None where strangers share a name.

    Errs on the side of None: `example.co.uk` and `auth.example.co.uk` are one site; `a.fly.dev` and
    `b.fly.dev` are none, nor are addresses and names without a dot.
    """
    labels = host.split(".")
    if len(labels) < 2 or not all(labels) or _is_address(host):
        return None
    tail = ".".join(labels[-2:])
    if any(host == domain or host.endswith(f".{domain}") for domain in _SHARED_DOMAINS):
        return None
    # Second-level suffixes of countries are short words: co.uk, com.au, or.jp, gov.br.
    if len(labels[-1]) == 2 and len(labels[-2]) <= 3:
        return ".".join(labels[-3:]) if len(labels) > 2 else None
    return tail


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.rpartition(".")[2].isdigit()
    return True

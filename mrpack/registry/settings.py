"""RegistrySettings: everything about registries that a user may choose, given in from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mrpack.registry.retry import RetryPolicy
from mrpack.version import VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """The values of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`; a proxy's URL may carry a password."""

    http: str | None = field(default=None, repr=False)
    https: str | None = field(default=None, repr=False)
    no_proxy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """Registries are named as in references: `docker.io`, `registry.example.com:5000`.

    Attributes:
        plain_http: registries without TLS. Loopback registries need no entry.
        tls: loopback registries that do speak TLS; one with `ca_file` or in `skip_verify` does anyway.
        ca_file: PEM file of certificate authorities to trust besides the system's.
        client_certificate: PEM file, shown to registries only, never to where they redirect.
        client_key: its key, when that is not in the same file.
        skip_verify: registries whose certificate is not checked; nothing they redirect to is meant.
        mirrors: registries to read from first, by the registry they mirror. What they say under a digest
            is checked; what they say under a tag is believed. These settings hold for them too, unless
            the session opens others for a mirror.
        trusted_realms: hosts (`auth.example.com`, or with a port) that may be shown a registry's credentials
            although they lie on another site, by registry.
        read_timeout_s: longest silence in the middle of an answer; also the window of the least rate.
        commit_timeout_s: longest wait for the answer to an upload; storage behind a registry may copy then.
    """

    plain_http: frozenset[str] = frozenset()
    tls: frozenset[str] = frozenset()
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    skip_verify: frozenset[str] = frozenset()
    proxies: ProxySettings = field(default_factory=ProxySettings)
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    trusted_realms: Mapping[str, frozenset[str]] = field(default_factory=dict)
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    commit_timeout_s: float = 300.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    user_agent: str = f"mrpack/{VERSION}"

"""What the verbs work on: the local store and the registries, opened from one Settings value."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mrpack.environment import RegistryRules, Settings, load_settings
from mrpack.errors import MrpackError
from mrpack.oci.reference import Reference
from mrpack.store.store import Store
from mrpack.version import VERSION

if TYPE_CHECKING:
    from mrpack.registry import CredentialStore, RegistrySession, RegistrySettings, RegistryTarget
    from mrpack.registry.rate import RateLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach the registry of one call, over what the settings say of it.

    `limit_rate`: bytes a second, over all connections of this call in both directions.
    """

    plain_http: bool = False
    ca_file: Path | None = None
    skip_verify: bool = False
    limit_rate: int | None = None


class Workspace:
    """Opens everything lazily; one of it serves a whole process. Close it to close its connections."""

    def __init__(
        self, settings: Settings, *, retrying: Callable[[MrpackError], None] = lambda _failure: None
    ) -> None:
        """`retrying` is told of a failure after which a registry is asked again, before the wait for that."""
        self.settings = settings
        self._retrying = retrying
        self._sessions: dict[tuple[str, Access], RegistrySession] = {}
        self._rates: dict[int, RateLimit] = {}

    @functools.cached_property
    def store(self) -> Store:
        return Store(self.settings.home, self.settings.references, cache=self.settings.cache)

    @functools.cached_property
    def credentials(self) -> CredentialStore:
        from mrpack.registry import CredentialStore  # noqa: PLC0415  # local commands need no HTTP
        from mrpack.registry.secret import Secret  # noqa: PLC0415

        return CredentialStore(
            self.settings.docker_config,
            podman_files=self.settings.podman_auth,
            given=Secret(self.settings.docker_auth),
        )

    def registry(self, reference: Reference, access: Access | None = None) -> RegistryTarget:
        """The repository of `reference` as a target; targets of one registry share connections and tokens."""
        from mrpack.registry import RegistryTarget  # noqa: PLC0415  # local commands need no HTTP

        return RegistryTarget(
            self.session(reference.registry, access), reference.registry, reference.repository
        )

    def session(self, registry: str, access: Access | None = None) -> RegistrySession:
        """Connections to one registry with the settings of that registry and of this call.

        Mirrors are reached by the settings under their own names; of this call they share the rate.
        """
        from mrpack.registry import RegistrySession  # noqa: PLC0415  # local commands need no HTTP

        key = (registry, access or Access())
        if key not in self._sessions:
            limit_rate = key[1].limit_rate or self.settings.limit_rate
            self._sessions[key] = RegistrySession(
                _registry_settings(self.settings, *key),
                self.credentials,
                rate=self._rate(limit_rate) if limit_rate else None,
                open_mirror=lambda mirror: self.session(mirror, Access(limit_rate=limit_rate)),
                retrying=self._retrying,
            )
        return self._sessions[key]

    def _rate(self, bytes_per_s: int) -> RateLimit:
        """One for all registries: a copy from one to another takes from it twice."""
        from mrpack.registry.rate import RateLimit  # noqa: PLC0415  # local commands need no HTTP

        return self._rates.setdefault(bytes_per_s, RateLimit(bytes_per_s))

    def close(self) -> None:
        """Close the connections; the next use opens them anew. Idempotent."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _registry_settings(settings: Settings, registry: str, access: Access) -> RegistrySettings:
    from mrpack.registry import RegistrySettings  # noqa: PLC0415  # local commands need no HTTP
    from mrpack.registry.settings import ProxySettings  # noqa: PLC0415

    rules = settings.registries.get(registry, RegistryRules())
    rules = replace(
        rules,
        plain_http=rules.plain_http or access.plain_http,
        insecure_skip_verify=rules.insecure_skip_verify or access.skip_verify,
        ca_file=access.ca_file or rules.ca_file,
    )
    this = frozenset({registry})
    return RegistrySettings(
        plain_http=this if rules.plain_http else frozenset(),
        skip_verify=this if rules.insecure_skip_verify else frozenset(),
        ca_file=rules.ca_file,
        client_certificate=rules.client_cert,
        client_key=rules.client_key,
        mirrors={registry: rules.mirrors},
        trusted_realms={registry: frozenset(rules.token_realms)},
        proxies=ProxySettings(
            http=settings.proxies.http or None,
            https=settings.proxies.https or None,
            no_proxy=settings.proxies.no_proxy,
        ),
        user_agent=f"mrpack/{VERSION}",
    )


def open_workspace(environ: Mapping[str, str] | None = None) -> Workspace:
    """The workspace of this user, from config.toml and `environ` (by default the process's), as the CLI's."""
    return Workspace(load_settings(os.environ if environ is None else environ))

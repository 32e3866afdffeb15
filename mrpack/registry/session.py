"""RegistrySession: what the targets of one process share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

from mrpack.errors import AccessDenied
from mrpack.registry.auth import Authorizer
from mrpack.registry.client import Call, RegistryClient
from mrpack.registry.credential import CredentialSource, FixedCredentials
from mrpack.registry.endpoints import origin_of
from mrpack.registry.rate import RateLimit
from mrpack.registry.retry import Clock, Retrying, RetryPolicy, unsaid
from mrpack.registry.settings import RegistrySettings
from mrpack.registry.tokens import Tokens
from mrpack.registry.transport import Transport

# A mirror is there to save time: one that fails is passed over at once.
_MIRROR_POLICY = RetryPolicy(attempts=1)


class RegistrySession:
    """Connections, tokens and credentials, for any number of registries. Thread-safe. Close it."""

    def __init__(
        self,
        settings: RegistrySettings | None = None,
        credentials: CredentialSource | None = None,
        *,
        clock: Clock | None = None,
        rate: RateLimit | None = None,
        open_mirror: Callable[[str], RegistrySession] | None = None,
        retrying: Retrying = unsaid,
    ) -> None:
        """Anonymous without `credentials`.

        `rate` limits the blobs of all targets, both ways. `open_mirror` gives the session in which a mirror
        is spoken to, with settings of its own, and which its maker closes; by default this one.
        """
        self.rate = rate
        self._open_mirror = open_mirror
        self.settings = settings or RegistrySettings()
        self._credentials = credentials or FixedCredentials()
        self._clock = clock or Clock()
        self._retrying = retrying
        self._transport = Transport(self.settings, self._clock.monotonic)
        self._tokens = Tokens(self._clock.monotonic)
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, bool], RegistryClient] = {}

    def client(self, registry: str) -> RegistryClient:
        return self._client(registry, mirror=False)

    def mirrors(self, registry: str) -> tuple[RegistryClient, ...]:
        """Where to read first, in order."""
        return tuple(
            (self._open_mirror(name) if self._open_mirror else self)._client(name, mirror=True)  # noqa: SLF001
            for name in self.settings.mirrors.get(registry, ())
        )

    def check(self, registry: str) -> None:
        """Speak to `registry` once, with the credentials if it asks for any; for `login`.

        Raises:
            AccessDenied: it, or its token service, refuses them or may not be shown them.
        """
        client = self.client(registry)
        client.send(Call(doing=f"log in to {registry}", path="/v2/", repository="", scopes=())).drain()
        withheld = client.authorizer.withheld_from
        if withheld is not None:
            raise AccessDenied(
                f"log in to {registry}: its token service {withheld.origin} is not known to belong to it",
                hint="add it to its token_realms in config.toml if it does",
            )

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _client(self, registry: str, *, mirror: bool) -> RegistryClient:
        with self._lock:
            client = self._clients.get((registry, mirror))
            if client is None:
                origin = origin_of(registry, self.settings)
                authorizer = Authorizer(
                    registry=registry,
                    origin=origin,
                    credentials=self._credentials,
                    transport=self._transport,
                    tokens=self._tokens,
                    settings=self.settings,
                    clock=self._clock,
                )
                policy = _MIRROR_POLICY if mirror else self.settings.retry
                client = RegistryClient(
                    registry=registry,
                    origin=origin,
                    transport=self._transport,
                    authorizer=authorizer,
                    policy=policy,
                    clock=self._clock,
                    retrying=self._retrying,
                )
                self._clients[registry, mirror] = client
            return client

"""Credential: what a registry may be shown, and the port that finds it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from mrpack.registry.secret import Secret

NO_SECRET: Final = Secret("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A password, or one of the two tokens that stand for it.

    Attributes:
        identity_token: OAuth2 refresh token, exchanged at the token service.
        registry_token: sent to the registry as it is.
    """

    username: str = ""
    password: Secret = NO_SECRET
    identity_token: Secret = NO_SECRET
    registry_token: Secret = NO_SECRET

    @property
    def basic(self) -> Secret | None:
        """The value of an `Authorization` header, when there is a password."""
        if not self.password:
            return None
        pair = f"{self.username}:{self.password.reveal()}".encode()
        return Secret("Basic " + base64.b64encode(pair).decode("ascii"))

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Every form in which somebody could repeat it."""
        basic = self.basic
        encoded = Secret(basic.reveal().removeprefix("Basic ")) if basic else NO_SECRET
        found = (self.password, encoded, self.identity_token, self.registry_token)
        return tuple(secret for secret in found if secret)


class CredentialSource(Protocol):
    def get(self, registry: str, repository: str) -> Credential | None:
        """What to show `registry`; None for nothing. May ask a program, so callers keep the answer."""
        ...


class FixedCredentials:
    """Credentials given in from outside, by registry; none at all by default."""

    def __init__(self, credentials: Mapping[str, Credential] | None = None) -> None:
        self._credentials = dict(credentials or {})

    def get(self, registry: str, repository: str) -> Credential | None:  # noqa: ARG002  # the port's signature
        return self._credentials.get(registry)

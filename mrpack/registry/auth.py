"""Authorizer: the Authorization header for one registry, as its challenges ask."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mrpack.registry.challenge import Challenge, parse_challenges
from mrpack.registry.credential import Credential, CredentialSource
from mrpack.registry.reach import Reach
from mrpack.registry.realms import judge_realm
from mrpack.registry.retry import Clock
from mrpack.registry.secret import Secret
from mrpack.registry.settings import RegistrySettings
from mrpack.registry.tokens import Scopes, Tokens, TokenService, fetch_token, join_scopes, parse_scopes
from mrpack.registry.transport import Transport
from mrpack.registry.url import Origin, Url

# Blacking out what is shorter would tell more than it hides.
_LEAST_SECRET: Final = 6
# More of a challenge's scope is not asked for; real ones name two repositories at most.
_SCOPES_LIMIT: Final = 16


@dataclass(frozen=True, slots=True)
class _Method:
    """How the registry wants to be spoken to: Basic, or a token of `service`. Learned from its last 401."""

    service: TokenService | None


class Authorizer:
    """Thread-safe. Credentials are looked up once a repository, and shown only to whom they are for."""

    def __init__(
        self,
        *,
        registry: str,
        origin: Origin,
        credentials: CredentialSource,
        transport: Transport,
        tokens: Tokens,
        settings: RegistrySettings,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._origin = origin
        self._credentials = credentials
        self._transport = transport
        self._tokens = tokens
        self._trusted = settings.trusted_realms.get(registry, frozenset())
        self._clock = clock
        self._lock = threading.RLock()
        self._methods: dict[str, _Method] = {}
        self._found: dict[str, Credential | None] = {}
        self.withheld_from: Url | None = None
        """The token service that was not shown the credentials we have, if there is one."""

    def known(self, repository: str, scopes: Scopes) -> Secret | None:
        """What to send before being asked; None until the registry has asked once."""
        with self._lock:
            method = self._methods.get(repository)
            if method is None:
                return None
            return self._header(method, repository, scopes)

    def answer(
        self, challenges: Sequence[str], repository: str, scopes: Scopes, refused: Secret | None, reach: Reach
    ) -> Secret | None:
        """What to send after a 401 on `refused`; None when there is nothing else to show.

        `scopes` are those of the whole operation; the challenge's own are added.

        Raises:
            AccessDenied: the token service may not be used, or refused the credentials.
            Transient, RegistryUnavailable: a malformed challenge or answer.
        """
        with self._lock:
            for challenge in _preferred(parse_challenges(challenges)):
                wanted = scopes
                if challenge.scheme == "bearer":
                    asked = parse_scopes([challenge.parameters.get("scope", "")])
                    if len(asked) <= _SCOPES_LIMIT:
                        wanted = join_scopes(scopes, asked)
                    method = _Method(self._token_service(challenge, repository, reach))
                else:
                    method = _Method(None)
                if refused is not None and refused.reveal().startswith("Bearer "):
                    self._tokens.drop(Secret(refused.reveal().removeprefix("Bearer ")))
                header = self._header(method, repository, wanted)
                if header is not None and header != refused:
                    self._methods[repository] = method
                    return header
        return None

    def without_secrets(self, text: str) -> str:
        """`text` from the registry, fit for a log: what it was shown is blacked out."""
        with self._lock:
            shown = [secret for found in self._found.values() if found for secret in found.secrets]
        for secret in (*shown, *self._tokens.all()):
            if len(secret.reveal()) >= _LEAST_SECRET:
                text = text.replace(secret.reveal(), "***")
        return text

    def has_credentials(self, repository: str) -> bool:
        return self._credential(repository) is not None

    def _header(self, method: _Method, repository: str, scopes: Scopes) -> Secret | None:
        credential = self._credential(repository)
        if credential is not None and credential.registry_token:
            return Secret(f"Bearer {credential.registry_token.reveal()}")
        if method.service is None:
            return credential.basic if credential else None
        token = self._tokens.find(method.service, scopes)
        if token is None:
            token, life_s = fetch_token(
                self._transport, method.service, self._origin, scopes, self._clock.now
            )
            self._tokens.keep(method.service, scopes, token, life_s)
        return Secret(f"Bearer {token.reveal()}")

    def _token_service(self, challenge: Challenge, repository: str, reach: Reach) -> TokenService:
        realm = Url.parse(challenge.parameters["realm"])
        rule = judge_realm(realm, self._origin, reach, self._trusted)
        credential = self._credential(repository)
        if credential is not None and not rule.credentials:
            self.withheld_from = realm
            credential = None
        service = challenge.parameters.get("service", "")
        return TokenService(realm, service, credential, rule.nearest)

    def _credential(self, repository: str) -> Credential | None:
        with self._lock:
            if repository not in self._found:
                self._found[repository] = self._credentials.get(self._registry, repository)
            return self._found[repository]


def _preferred(challenges: list[Challenge]) -> list[Challenge]:
    """Bearer first: it narrows what a leak could do. Schemes we do not speak are passed over."""
    bearer = [item for item in challenges if item.scheme == "bearer" and "realm" in item.parameters]
    basic = [item for item in challenges if item.scheme == "basic"]
    return bearer[:1] + basic[:1]

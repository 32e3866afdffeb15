"""Fetching a bearer token, and keeping it until it expires."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from mrpack.errors import AccessDenied, InvalidArtifact, RegistryUnavailable
from mrpack.oci.encoding import decode_object
from mrpack.registry.credential import Credential
from mrpack.registry.reach import Reach
from mrpack.registry.retry import Transient
from mrpack.registry.secret import Secret
from mrpack.registry.transport import Request, Transport
from mrpack.registry.url import Origin, Url
from mrpack.registry.wire import Refusal

_BODY_LIMIT: Final = 1024 * 1024
# RFC 6750, 2.1 names fewer characters; what is sent on must at least be one word of visible ASCII.
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
# Distribution's token specification: without expires_in, 60 seconds.
_DEFAULT_LIFE_S: Final = 60.0
# A token that ends sooner than this is not used for one more request.
_MARGIN_S: Final = 10.0
_CLIENT_ID: Final = "mrpack"

Scopes = frozenset[tuple[str, frozenset[str]]]
"""What a token is for: resources such as `repository:team/model`, each with its actions."""


def parse_scopes(texts: Iterable[str]) -> Scopes:
    """From texts such as `repository:a:pull,push repository:b:pull`; actions of one resource are joined."""
    found: dict[str, set[str]] = {}
    for text in texts:
        for scope in text.split():
            resource, _, actions = scope.rpartition(":")
            if resource:
                found.setdefault(resource, set()).update(filter(None, actions.split(",")))
    return frozenset((resource, frozenset(actions)) for resource, actions in found.items())


def scope_texts(scopes: Scopes) -> list[str]:
    return sorted(f"{resource}:{','.join(sorted(actions))}" for resource, actions in scopes)


def join_scopes(one: Scopes, other: Scopes) -> Scopes:
    return parse_scopes([*scope_texts(one), *scope_texts(other)])


@dataclass(frozen=True, slots=True)
class TokenService:
    """One token endpoint as a registry named it, after judgement."""

    realm: Url
    service: str
    credential: Credential | None
    nearest: Reach


@dataclass(frozen=True, slots=True)
class _Kept:
    token: Secret
    until_s: float


class Tokens:
    """The cache. Thread-safe; keyed by service, user and scopes, so a wider token serves a narrower need."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: dict[tuple[TokenService, Scopes], _Kept] = {}

    def find(self, service: TokenService, scopes: Scopes) -> Secret | None:
        with self._lock:
            for (owner, granted), kept in self._kept.items():
                if owner == service and _covers(granted, scopes) and kept.until_s > self._monotonic():
                    return kept.token
        return None

    def keep(self, service: TokenService, scopes: Scopes, token: Secret, life_s: float) -> None:
        now = self._monotonic()
        with self._lock:
            self._kept = {key: kept for key, kept in self._kept.items() if kept.until_s > now}
            self._kept[service, scopes] = _Kept(token, now + life_s - min(_MARGIN_S, life_s / 5))

    def all(self) -> list[Secret]:
        with self._lock:
            return [kept.token for kept in self._kept.values()]

    def drop(self, token: Secret) -> None:
        """It was refused."""
        with self._lock:
            self._kept = {key: kept for key, kept in self._kept.items() if kept.token != token}


def _covers(granted: Scopes, wanted: Scopes) -> bool:
    actions = dict(granted)
    return all(wish <= actions.get(resource, frozenset()) for resource, wish in wanted)


def fetch_token(
    transport: Transport, service: TokenService, registry: Origin, scopes: Scopes, now: Callable[[], float]
) -> tuple[Secret, float]:
    """A new token and its life in seconds, by GET, or by the OAuth2 refresh flow for an identity token.

    Nothing of the answer is repeated in an error, and redirects are not followed.

    Raises:
        AccessDenied: the credentials were refused.
        Transient, RegistryUnavailable: no usable answer.
    """
    response = transport.request(_token_request(service, registry, scopes))
    place = service.realm.shown
    if response.status != 200:
        raise _refused(Refusal.read(response, now), service, place)
    life_s, token = _DEFAULT_LIFE_S, None
    try:
        answer = decode_object(response.read(_BODY_LIMIT), "token", limit=_BODY_LIMIT)
    except InvalidArtifact:
        answer = {}
    token = answer.get("token") or answer.get("access_token")
    expires_in = answer.get("expires_in")
    if isinstance(expires_in, int) and not isinstance(expires_in, bool) and expires_in > 0:
        life_s = float(expires_in)
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise RegistryUnavailable(f"{place}: the token service of {registry} answered without a usable token")
    return Secret(token), life_s


def _token_request(service: TokenService, registry: Origin, scopes: Scopes) -> Request:
    credential = service.credential
    own = service.realm.origin == registry
    if credential is not None and credential.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": service.service,
            "client_id": _CLIENT_ID,
            "scope": " ".join(scope_texts(scopes)),
            "refresh_token": credential.identity_token.reveal(),
        }
        return Request(
            method="POST",
            url=service.realm,
            headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
            body=urlencode(form).encode("ascii"),
            own=own,
            nearest=service.nearest,
        )
    query: list[tuple[str, Any]] = [("service", service.service)] if service.service else []
    query += [("scope", text) for text in scope_texts(scopes)]
    headers = {"Accept": "application/json"}
    if credential is not None and (basic := credential.basic) is not None:
        query.append(("account", credential.username))
        headers["Authorization"] = basic.reveal()
    url = service.realm
    for key, value in query:
        url = url.with_query(key, value)
    return Request(method="GET", url=url, headers=headers, own=own, nearest=service.nearest)


def _refused(refusal: Refusal, service: TokenService, place: str) -> Exception:
    if refusal.status in {400, 401, 403}:
        who = service.credential.username if service.credential else ""
        return AccessDenied(
            f"the token service {place} refused "
            + (f"the credentials of {who!r}" if who else "to give a token"),
            hint="log in again with `mrpack login`",
        )
    if refusal.family is Transient:
        return Transient(
            f"the token service {place} answered with status {refusal.status}",
            retry_after_s=refusal.retry_after_s,
        )
    return RegistryUnavailable(f"the token service {place} answered with status {refusal.status}")

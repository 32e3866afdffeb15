"""RegistryClient: one registry's API with authorization, redirects and repeated tries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from mrpack.errors import AccessDenied, MrpackError, NotFound, RegistryUnavailable
from mrpack.registry.auth import Authorizer
from mrpack.registry.known import known_registry
from mrpack.registry.reach import Reach
from mrpack.registry.response import Response
from mrpack.registry.retry import Clock, Retries, Retrying, RetryPolicy, Transient
from mrpack.registry.secret import Secret
from mrpack.registry.tokens import parse_scopes
from mrpack.registry.transport import Body, Request, Transport
from mrpack.registry.url import Origin, Url
from mrpack.registry.wire import Refusal

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_REDIRECT_LIMIT: Final = 5
# A token that lacks scope, and one that expired on the way.
_ANSWERS_LIMIT: Final = 2

_Taken = TypeVar("_Taken")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request in the registry's terms.

    Attributes:
        doing: operation and content, as a message begins: `pull blob sha256:…`.
        path: below the registry's origin, or an absolute URL that the registry gave.
        scopes: what a token has to allow for the whole operation this is part of.
        success: statuses that are answers; every other is an error.
        patience_s: longest wait for the answer, when the general read time-out is too short.
        nearest: how near an address that is not the registry's own may lie.
    """

    doing: str
    path: str | Url
    repository: str
    scopes: tuple[str, ...]
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body = b""
    success: frozenset[int] = frozenset({200})
    patience_s: float | None = None
    nearest: Reach = Reach.PUBLIC


class RegistryClient:
    """Thread-safe."""

    def __init__(
        self,
        *,
        registry: str,
        origin: Origin,
        transport: Transport,
        authorizer: Authorizer,
        policy: RetryPolicy,
        clock: Clock,
        retrying: Retrying,
    ) -> None:
        self.registry = registry
        self.origin = origin
        self._transport = transport
        self.authorizer = authorizer
        self._policy = policy
        self._clock = clock
        self._retrying = retrying

    def retries(self) -> Retries:
        return Retries(self._policy, self._clock, self._retrying)

    def no_retries(self) -> Retries:
        """For who does something better after a failure than the same again."""
        return Retries(replace(self._policy, attempts=1), self._clock)

    def send(self, call: Call) -> Response:
        """The answer, with a status in `call.success`, after as many tries as the policy allows.

        The caller reads and closes it. Not for streams, which cannot be sent twice: see `attempt`.

        Raises:
            MrpackError: of the family that the registry's status and error code stand for.
        """
        return self.read(call, lambda response: response)

    def read(self, call: Call, take: Callable[[Response], _Taken], *, patient: bool = True) -> _Taken:
        """What `take` makes of the answer, which it closes or hands on; again when that breaks off.

        Tried once if not `patient`. Raises what `send` and `take` raise.
        """
        retries = self.retries() if patient else self.no_retries()
        while True:
            try:
                return take(self.attempt(call))
            except Transient as failure:
                retries.wait(failure)

    def attempt(self, call: Call) -> Response:
        """One try. A stream that met a 401 raises Transient with no delay: the next try has a new token."""
        response = self._authorized(call)
        if response.status in _REDIRECTS and call.method in {"GET", "HEAD"}:
            response = self._follow(call, response)
        if response.status in call.success:
            return response
        raise self._error(call, response, self._refusal(response))

    def _authorized(self, call: Call) -> Response:
        url = call.path if isinstance(call.path, Url) else Url(self.origin, call.path)
        scopes = parse_scopes(call.scopes)
        own = url.origin == self.origin
        header = self.authorizer.known(call.repository, scopes) if own else None
        response = self._request(call, url, header, call.nearest)
        for _ in range(_ANSWERS_LIMIT):
            if response.status != 401 or not own:
                return response
            challenges = response.all_headers("WWW-Authenticate")
            refusal = self._refusal(response)
            header = self.authorizer.answer(challenges, call.repository, scopes, header, response.reach)
            if header is None:
                raise self._error(call, response, refusal)
            if not isinstance(call.body, bytes):
                raise Transient(f"{call.doing}: {self.registry} wanted a new token", retry_after_s=0.0)
            response = self._request(call, url, header, call.nearest)
        return response

    def _request(self, call: Call, url: Url, header: Secret | None, nearest: Reach) -> Response:
        own = url.origin == self.origin
        headers = dict(call.headers)
        if header is not None:
            headers["Authorization"] = header.reveal()
        return self._transport.request(
            Request(
                method=call.method,
                url=url,
                headers=headers,
                body=call.body,
                own=own,
                nearest=Reach.LOCAL if own else nearest,
                patience_s=call.patience_s,
            )
        )

    def _follow(self, call: Call, response: Response) -> Response:
        """Redirects by hand: our credentials stay with the registry, and nobody answers a foreign 401."""
        nearest, own = response.reach, True
        for _ in range(_REDIRECT_LIMIT):
            response.drain()
            url = response.url.follow(response.header("Location"))
            nearest = min(nearest, response.reach)
            own = own and url.origin == self.origin
            header = self.authorizer.known(call.repository, parse_scopes(call.scopes)) if own else None
            response = self._request(call, url, header, nearest)
            if response.status not in _REDIRECTS:
                return response
        response.close()
        raise RegistryUnavailable(
            f"{call.doing}: {self.registry} redirects more than {_REDIRECT_LIMIT} times"
        )

    def _refusal(self, response: Response) -> Refusal:
        """Some registries, and worse ones, repeat what they were shown."""
        refusal = Refusal.read(response, self._clock.now)
        return replace(refusal, words=self.authorizer.without_secrets(refusal.words))

    def _error(self, call: Call, response: Response, refusal: Refusal) -> MrpackError:
        where = self.registry
        if response.url.origin != self.origin:
            where = f"{response.url.origin}, where {self.registry} leads to,"
        return refusal.error(call.doing, where, hint=self._hint(call, refusal))

    def _hint(self, call: Call, refusal: Refusal) -> str | None:
        known = known_registry(self.registry)
        if known is not None and refusal.status == 429 and known.on_limit is not None:
            return known.on_limit
        if known is not None and refusal.family is NotFound and call.method not in {"GET", "HEAD"}:
            return known.on_missing
        if self.origin.scheme == "http" and refusal.status == 400 and not refusal.codes:
            return "it may speak TLS: try --ca-file FILE, or --insecure-skip-verify, without --plain-http"
        if not issubclass(refusal.family, AccessDenied):
            return None
        withheld = self.authorizer.withheld_from
        if withheld is not None:
            return (
                f"your credentials were not shown to {withheld.origin}, which is not known to belong to "
                f"{self.registry}; add it to its token_realms in config.toml if it does"
            )
        way = f" ({known.log_in})" if known else ""
        if self.authorizer.has_credentials(call.repository):
            return f"your credentials for {self.registry} do not allow this, or the name is wrong{way}"
        return f"log in with `mrpack login {self.registry}`{way}, or check the name"

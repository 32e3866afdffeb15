"""Authorization as the challenges ask: what is sent, where to, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.errors import AccessDenied, RegistryUnavailable, TransferError
from mrpack.oci.manifest import Manifest
from mrpack.registry import (
    Credential,
    FixedCredentials,
    RegistrySession,
    RegistrySettings,
    RegistryTarget,
    Secret,
)
from mrpack.registry.retry import Clock, RetryPolicy
from tests.fakes.registry import FakeRegistry, Reply, Request, error_reply, json_reply
from tests.fakes.registry_faults import on, refuse

PASSWORD = "s3cret:of alice"
BASIC = "Basic YWxpY2U6czNjcmV0Om9mIGFsaWNl"
SETTINGS = RegistrySettings(retry=RetryPolicy(attempts=3, first_delay_s=0.001))


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        fake.add("team/model", "v1", b"{}", b"weights")
        yield fake


class Tokens:
    """A token service that gives `token-N` for the Nth request and remembers what was asked."""

    def __init__(self, **extra: object) -> None:
        self.requests: list[Request] = []
        self.extra = extra

    def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        return json_reply({"token": f"token-{len(self.requests)}", **self.extra})

    @property
    def scopes(self) -> list[set[str]]:
        found = []
        for request in self.requests:
            query = parse_qs(urlsplit(request.target).query) or parse_qs(request.body.decode())
            found.append({text for scope in query.get("scope", []) for text in scope.split()})
        return found


def bearer(registry: FakeRegistry, *scopes: str, **extra: str) -> str:
    parameters = {"realm": f"{registry.url}/token", "service": "fake", **extra}
    if scopes:
        parameters["scope"] = " ".join(scopes)
    return "Bearer " + ",".join(f'{name}="{value}"' for name, value in parameters.items())


def open_session(
    registry: FakeRegistry,
    credential: Credential | None = None,
    settings: RegistrySettings = SETTINGS,
    clock: Clock | None = None,
) -> RegistrySession:
    credentials = FixedCredentials({registry.address: credential} if credential else {})
    return RegistrySession(settings, credentials, clock=clock)


ALICE = Credential(username="alice", password=Secret(PASSWORD))


def pull(registry: FakeRegistry, session: RegistrySession, repository: str = "team/model") -> None:
    copy(RegistryTarget(session, registry.address, repository), "v1", MemoryTarget(), "v1")


def push(registry: FakeRegistry, session: RegistrySession, repository: str) -> Manifest:
    memory = MemoryTarget()
    config = memory.add("application/vnd.oci.empty.v1+json", b"{}")
    manifest = Manifest.build(config=config, layers=[memory.add("a/b", b"weights")])
    memory.push_manifest(manifest.descriptor, manifest.raw, "v1")
    copy(memory, "v1", RegistryTarget(session, registry.address, repository), "v1")
    return manifest


def test_nothing_is_shown_to_a_registry_that_does_not_ask(registry: FakeRegistry) -> None:
    with open_session(registry, ALICE) as session:
        pull(registry, session)
    assert not any("Authorization" in request.headers for request in registry.requests)


def test_a_basic_challenge_is_answered_once_and_then_forestalled(registry: FakeRegistry) -> None:
    registry.protect("team/model", 'Basic realm="x"', BASIC)
    with open_session(registry, ALICE) as session:
        pull(registry, session)
    sent = [request.headers.get("Authorization") for request in registry.requests]
    assert sent == [None, BASIC, BASIC, BASIC]


def test_a_refused_password_is_not_tried_again(registry: FakeRegistry) -> None:
    registry.protect("team/model", 'Basic realm="x"')
    with open_session(registry, ALICE) as session, pytest.raises(TransferError) as caught:
        pull(registry, session)
    assert isinstance(caught.value.cause, AccessDenied)
    assert len(registry.requests) == 2
    assert "login" not in str(caught.value)


def test_a_token_is_fetched_once_for_a_pull(registry: FakeRegistry) -> None:
    registry.token_service = tokens = Tokens()
    registry.protect("team/model", bearer(registry, "repository:team/model:pull"), "Bearer token-1")
    with open_session(registry) as session:
        pull(registry, session)
    assert tokens.scopes == [{"repository:team/model:pull"}]
    assert "Authorization" not in tokens.requests[0].headers


def test_a_push_asks_for_both_actions_at_once(registry: FakeRegistry) -> None:
    """The first challenge of a push names `pull` alone."""
    registry.token_service = tokens = Tokens()
    registry.protect("team/new", bearer(registry, "repository:team/new:pull"), "Bearer token-1")
    with open_session(registry, ALICE) as session:
        push(registry, session, "team/new")
    assert tokens.scopes == [{"repository:team/new:pull,push"}]
    assert tokens.requests[0].headers["Authorization"] == BASIC
    assert "account=alice" in tokens.requests[0].target
    assert not any(
        request.headers.get("Authorization") == BASIC for request in registry.requests if request.repository
    )


def test_a_pull_after_a_push_uses_the_wider_token(registry: FakeRegistry) -> None:
    registry.token_service = tokens = Tokens()
    registry.protect("team/new", bearer(registry), "Bearer token-1")
    with open_session(registry, ALICE) as session:
        push(registry, session, "team/new")
        pull(registry, session, "team/new")
    assert len(tokens.requests) == 1


def test_a_mount_asks_for_both_repositories(registry: FakeRegistry) -> None:
    registry.token_service = tokens = Tokens()
    challenge = bearer(registry, "repository:team/model:pull", "repository:team/new:pull,push")
    registry.protect("team/new", challenge, "Bearer token-1", "Bearer token-2")
    with open_session(registry, ALICE) as session:
        source = RegistryTarget(session, registry.address, "team/model")
        target = RegistryTarget(session, registry.address, "team/new")
        (blob,) = Manifest.parse(registry.manifests["team/model", "v1"][1]).layers
        assert target.mount(blob, source)
    assert tokens.scopes == [{"repository:team/model:pull", "repository:team/new:pull,push"}]


def test_what_may_not_be_read_is_pushed_instead_of_mounted(registry: FakeRegistry) -> None:
    denied = error_reply(403, "DENIED")
    registry.fault("team/new", lambda request, reply: denied if "mount" in request.query else reply)
    with open_session(registry) as session:
        source = RegistryTarget(session, registry.address, "team/model")
        copy(source, "v1", RegistryTarget(session, registry.address, "team/new"), "v1", jobs=1)
    assert ("team/new", "v1") in registry.manifests


@pytest.mark.parametrize("error", ["insufficient_scope", "invalid_token"])
def test_a_token_that_is_refused_is_replaced_once(registry: FakeRegistry, error: str) -> None:
    registry.token_service = tokens = Tokens()
    wanted = "repository:team/model:pull,delete"
    registry.protect("team/model", bearer(registry, wanted, error=error), "Bearer token-2")
    with open_session(registry, ALICE) as session:
        pull(registry, session)
    assert tokens.scopes == [{"repository:team/model:delete,pull"}] * 2


def test_endless_challenges_end(registry: FakeRegistry) -> None:
    registry.token_service = tokens = Tokens()
    registry.protect("team/model", bearer(registry))
    with open_session(registry, ALICE) as session, pytest.raises(TransferError) as caught:
        pull(registry, session)
    assert isinstance(caught.value.cause, AccessDenied)
    assert len(tokens.requests) == 2
    assert len(registry.seen(kind="manifests")) == 3


@pytest.mark.parametrize(
    ("life", "again_after_s", "fetched"), [(300, 200, 1), (300, 295, 2), (None, 40, 1), (None, 55, 2)]
)
def test_a_token_is_used_until_shortly_before_its_end(
    registry: FakeRegistry, life: int | None, again_after_s: float, fetched: int
) -> None:
    registry.token_service = tokens = Tokens(**({"expires_in": life} if life else {}))
    registry.protect("team/model", bearer(registry), "Bearer token-1", "Bearer token-2")
    now = [1_000.0]
    with open_session(registry, clock=Clock(monotonic=lambda: now[0])) as session:
        target = RegistryTarget(session, registry.address, "team/model")
        target.resolve("v1")
        now[0] += again_after_s
        target.resolve("v1")
    assert len(tokens.requests) == fetched
    assert len(registry.seen(kind="manifests")) == 3


def test_a_token_that_ends_in_the_middle_of_a_push_is_renewed(registry: FakeRegistry) -> None:
    registry.token_service = tokens = Tokens()
    registry.protect("team/new", bearer(registry), "Bearer token-1")

    def expire(request: Request, reply: Reply) -> Reply:
        registry.protect("team/new", bearer(registry, error="invalid_token"), "Bearer token-2")
        return reply

    registry.fault("team/new", on("blobs/uploads", "POST", expire))
    with open_session(registry, ALICE) as session:
        push(registry, session, "team/new")
    assert len(tokens.requests) == 2
    assert ("team/new", "v1") in registry.manifests


def test_an_identity_token_is_exchanged_by_post(registry: FakeRegistry) -> None:
    registry.token_service = tokens = Tokens()
    registry.protect("team/model", bearer(registry), "Bearer token-1")
    with open_session(registry, Credential(identity_token=Secret("refresh me"))) as session:
        pull(registry, session)
    (request,) = tokens.requests
    form = parse_qs(request.body.decode())
    assert (request.method, form["grant_type"], form["service"]) == ("POST", ["refresh_token"], ["fake"])
    assert form["refresh_token"] == ["refresh me"]
    assert "refresh" not in request.target


def test_a_registry_token_is_sent_as_it_is(registry: FakeRegistry) -> None:
    registry.protect("team/model", bearer(registry), "Bearer ready")
    with open_session(registry, Credential(registry_token=Secret("ready"))) as session:
        pull(registry, session)
    assert not registry.seen(kind="")


def test_bearer_goes_before_basic_and_unknown_schemes_are_passed_over(registry: FakeRegistry) -> None:
    registry.token_service = Tokens()
    challenge = f'Negotiate, Basic realm="x", {bearer(registry)}'
    registry.protect("team/model", challenge, "Bearer token-1")
    with open_session(registry, ALICE) as session:
        pull(registry, session)
    assert not any(
        request.headers.get("Authorization") == BASIC for request in registry.seen(kind="manifests")
    )


@pytest.mark.parametrize("challenge", ["Negotiate", "Bearer service=x", ""])
def test_a_challenge_that_cannot_be_answered_is_a_denial(registry: FakeRegistry, challenge: str) -> None:
    registry.fault("team/model", refuse(401, "UNAUTHORIZED", WWW_Authenticate=challenge))
    with open_session(registry, ALICE) as session, pytest.raises(AccessDenied):
        RegistryTarget(session, registry.address, "team/model").resolve("v1")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(json_reply({"details": PASSWORD}, 401), AccessDenied, id="401"),
        pytest.param(json_reply({"details": PASSWORD}, 403), AccessDenied, id="403"),
        pytest.param(json_reply({"details": PASSWORD}, 503), RegistryUnavailable, id="503"),
        pytest.param(json_reply({"details": PASSWORD}, 404), RegistryUnavailable, id="404"),
        pytest.param(Reply(302, {"Location": "/token2"}), RegistryUnavailable, id="redirect"),
        pytest.param(Reply(200, {}, b"<html>" + PASSWORD.encode()), RegistryUnavailable, id="html"),
        pytest.param(Reply(200, {}, b"[1]"), RegistryUnavailable, id="list"),
        pytest.param(Reply(200, {}, b'{"token":"a"' + b" " * 2_000_000), RegistryUnavailable, id="2 MB"),
        pytest.param(Reply(200, {}, b"[" * 100_000), RegistryUnavailable, id="deep"),
        pytest.param(json_reply({}), RegistryUnavailable, id="none"),
        pytest.param(json_reply({"token": 5}), RegistryUnavailable, id="number"),
        pytest.param(json_reply({"token": ""}), RegistryUnavailable, id="empty"),
        pytest.param(json_reply({"token": "a\r\nX-Evil: b"}), RegistryUnavailable, id="line break"),
        pytest.param(json_reply({"token": "a b"}), RegistryUnavailable, id="blank"),
        pytest.param(json_reply({"token": "é"}), RegistryUnavailable, id="not ascii"),
        pytest.param(json_reply({"token": "a" * 100_000}), RegistryUnavailable, id="long"),
    ],
)
def test_a_bad_answer_of_the_token_service_is_an_error_that_repeats_nothing(
    registry: FakeRegistry, reply: Reply, error: type[Exception]
) -> None:
    registry.token_service = lambda _request: reply
    registry.protect("team/model", bearer(registry), "Bearer a")
    with open_session(registry, ALICE) as session, pytest.raises(error) as caught:
        RegistryTarget(session, registry.address, "team/model").resolve("v1")
    assert PASSWORD not in str(caught.value)
    assert not any(request.headers.get("Authorization") for request in registry.seen(kind="manifests"))
    assert all("X-Evil" not in request.headers for request in registry.requests)


def test_a_token_service_that_is_busy_is_tried_again(registry: FakeRegistry) -> None:
    replies = [Reply(503), Reply(429, {"Retry-After": "0"}), json_reply({"access_token": "good"})]
    registry.token_service = lambda _request: replies.pop(0)
    registry.protect("team/model", bearer(registry), "Bearer good")
    with open_session(registry, ALICE) as session:
        RegistryTarget(session, registry.address, "team/model").resolve("v1")
    assert not replies


@pytest.mark.parametrize("life", [True, -1, "60", 1.5, None])
def test_a_strange_life_counts_as_a_minute(registry: FakeRegistry, life: object) -> None:
    registry.token_service = tokens = Tokens(expires_in=life)
    registry.protect("team/model", bearer(registry), "Bearer token-1")
    with open_session(registry) as session:
        pull(registry, session)
    assert len(tokens.requests) == 1


def test_the_login_check_says_when_credentials_stayed_at_home(registry: FakeRegistry) -> None:
    with FakeRegistry() as stranger:
        challenge = bearer(stranger)
        registry.fault("", refuse(401, "UNAUTHORIZED", WWW_Authenticate=challenge))
        with open_session(registry, ALICE) as session, pytest.raises(AccessDenied):
            session.check(registry.address)
        assert not stranger.saw("Basic")


def test_the_login_check_passes_where_nobody_asks(registry: FakeRegistry) -> None:
    with open_session(registry, ALICE) as session:
        session.check(registry.address)

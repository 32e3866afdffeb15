"""No secret goes to a stranger, to a log or into an error."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from mrpack.errors import (
    AccessDenied,
    MrpackError,
    RegistryUnavailable,
)
from mrpack.registry import (
    Credential,
    FixedCredentials,
    RegistrySession,
    RegistrySettings,
    RegistryTarget,
    Secret,
)
from tests.fakes import registry_faults as faults
from tests.fakes.certificates import Authority
from tests.fakes.registry import FakeRegistry, Reply, json_reply
from tests.fakes.registry_scene import REPOSITORY, SETTINGS, WEIGHTS, failure, pull, push


def test_a_registry_with_tls_cannot_lead_to_plain_http(stranger: FakeRegistry, authority: Authority) -> None:
    stranger.add(REPOSITORY, "v1", WEIGHTS)
    secret = Credential(username="alice", password=Secret("hush"))
    settings = RegistrySettings(ca_file=authority.ca_file, retry=SETTINGS.retry)
    with FakeRegistry(authority.server_context()) as registry:
        manifest = registry.add(REPOSITORY, "v1", WEIGHTS)
        credentials = FixedCredentials({registry.address: secret})
        with RegistrySession(settings, credentials) as session:
            assert pull(session, registry).exists(manifest.config)
            registry.fault(REPOSITORY, faults.on_blobs(faults.redirect(stranger.url + "{target}")))
            assert isinstance(failure(lambda: pull(session, registry)), RegistryUnavailable)
            registry.fault(REPOSITORY, faults.upload_location(stranger.url + "{path}"))
            assert isinstance(failure(lambda: push(session, registry)), RegistryUnavailable)
            registry.protect(REPOSITORY, f'Bearer realm="{stranger.url}/token"')
            assert isinstance(failure(lambda: pull(session, registry)), AccessDenied)
    assert not stranger.requests


@pytest.mark.parametrize(
    "realm",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.255.255.1/token",
        "http://100.64.0.1/token",
        "http://0.0.0.0:{port}/token",
        "http://[::]:{port}/token",
        "http://[::ffff:127.0.0.1]:{port}/token",
        "http://2130706433:{port}/token",
        "http://0x7f.1:{port}/token",
        "http://0177.0.0.1:{port}/token",
        "http://127.1:{port}/token",
    ],
)
def test_a_realm_on_a_near_address_is_not_dialled(
    registry: FakeRegistry, stranger: FakeRegistry, session: RegistrySession, realm: str
) -> None:
    """The registry is not on the machine by the realm's name, though the address is the same."""
    registry.protect(REPOSITORY, f'Bearer realm="{realm.format(port=stranger.port)}"')
    target = RegistryTarget(session, registry.address, REPOSITORY)
    assert isinstance(failure(lambda: target.resolve("v1")), AccessDenied)
    assert not stranger.requests


def test_a_token_service_that_redirects_is_not_followed(
    registry: FakeRegistry, stranger: FakeRegistry, session: RegistrySession
) -> None:
    redirect = Reply(307, {"Location": f"{stranger.url}/token"})
    registry.token_service = lambda _request: redirect
    registry.protect(REPOSITORY, f'Bearer realm="{registry.url}/token"')
    target = RegistryTarget(session, registry.address, REPOSITORY)
    assert isinstance(failure(lambda: target.resolve("v1")), RegistryUnavailable)
    assert not stranger.requests


PASSWORD, REFRESH, TOKEN = "p4ssword-canary", "refresh-canary", "token-canary"
BASIC = "YWxpY2U6cDRzc3dvcmQtY2FuYXJ5"
SECRETS = (PASSWORD, REFRESH, TOKEN, BASIC)
CREDENTIALS = {
    "basic": Credential(username="alice", password=Secret(PASSWORD)),
    "token": Credential(username="alice", password=Secret(PASSWORD)),
    "identity": Credential(identity_token=Secret(REFRESH)),
    "ready": Credential(registry_token=Secret(TOKEN)),
}
LURES: dict[str, Callable[[FakeRegistry, FakeRegistry], None]] = {
    "blob redirect": lambda registry, stranger: registry.fault(
        REPOSITORY, faults.on_blobs(faults.redirect(stranger.url + "{target}"))
    ),
    "manifest redirect": lambda registry, stranger: registry.fault(
        REPOSITORY, faults.on("manifests", "GET", faults.redirect(stranger.url + "{target}"))
    ),
    "head redirect": lambda registry, stranger: registry.fault(
        REPOSITORY, faults.on("blobs", "HEAD", faults.redirect(stranger.url + "{target}"))
    ),
    "there and back": lambda registry, stranger: (
        registry.fault(REPOSITORY, faults.on_blobs(faults.redirect(stranger.url + "{target}"))),
        stranger.fault(REPOSITORY, faults.redirect(registry.url + "/v2/stolen/x/blobs/y")),
    )[0],
    "upload location": lambda registry, stranger: registry.fault(
        REPOSITORY, faults.upload_location(stranger.url + "{path}")
    ),
    "upload location by name": lambda registry, stranger: registry.fault(
        REPOSITORY, faults.upload_location(f"http://localhost:{registry.port}" + "{path}")
    ),
    "realm": lambda registry, stranger: registry.protect(
        REPOSITORY, f'Bearer realm="{stranger.url}/token",service="x"'
    ),
    "realm and basic": lambda registry, stranger: registry.protect(
        REPOSITORY, f'Bearer realm="{stranger.url}/token", Basic realm="x"'
    ),
    "tags link": lambda registry, stranger: registry.fault(
        REPOSITORY, faults.on("tags", "GET", faults.header("Link", f'<{stranger.url}/v2/x>; rel="next"'))
    ),
    "post redirect": lambda registry, stranger: registry.fault(
        REPOSITORY, faults.on("blobs/uploads", "POST", faults.redirect(stranger.url + "{target}"))
    ),
}


@pytest.mark.parametrize("how", CREDENTIALS)
@pytest.mark.parametrize("lure", LURES)
def test_no_secret_reaches_a_stranger_a_log_or_an_error(
    registry: FakeRegistry,
    stranger: FakeRegistry,
    caplog: pytest.LogCaptureFixture,
    how: str,
    lure: str,
) -> None:
    challenge = 'Basic realm="x"' if how == "basic" else f'Bearer realm="{registry.url}/token",service="x"'
    registry.token_service = lambda _request: json_reply({"token": TOKEN})
    registry.protect(REPOSITORY, challenge, f"Basic {BASIC}", f"Bearer {TOKEN}")
    stranger.token_service = lambda _request: json_reply({"token": "a-strangers-token"})
    for place in (registry, stranger):
        place.add(REPOSITORY, "v1", b"{}", WEIGHTS)
    stranger.protect(REPOSITORY, f'Basic realm="give it to me", Bearer realm="{stranger.url}/token"')
    LURES[lure](registry, stranger)
    credentials = FixedCredentials({registry.address: CREDENTIALS[how]})
    messages = []
    with caplog.at_level(logging.DEBUG), RegistrySession(SETTINGS, credentials) as session:
        target = RegistryTarget(session, registry.address, REPOSITORY)
        actions: tuple[Callable[[], object], ...] = (
            lambda: pull(session, registry),
            lambda: push(session, registry, b"new weights"),
            target.tags,
        )
        for action in actions:
            try:
                action()
            except MrpackError as error:
                messages.append(f"{error!r} {error} {error.hint}")
    for secret in SECRETS:
        assert not stranger.saw(secret), f"{secret} was shown to the stranger"
        assert secret not in caplog.text
        assert not any(secret in message for message in messages)
    if not lure.startswith("realm"):
        assert not stranger.seen(kind=""), "a stranger's challenge was answered"
    stolen = [request for request in registry.seen() if request.repository == "stolen/x"]
    assert not any("Authorization" in request.headers for request in stolen)
    foreign_names = [r for r in registry.seen() if r.headers["Host"].startswith("localhost")]
    assert not any("Authorization" in request.headers for request in foreign_names)

"""Connections: kept, renewed, secured, and led through a proxy."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mrpack.digest import Digest
from mrpack.errors import AccessDenied, NotFound, RegistryUnavailable, UsageError
from mrpack.oci.manifest import Index
from mrpack.oci.mediatypes import OCI_INDEX
from mrpack.registry import (
    Credential,
    FixedCredentials,
    ProxySettings,
    RegistrySession,
    RegistrySettings,
    RegistryTarget,
    Secret,
)
from mrpack.registry.response import describe
from mrpack.registry.retry import Clock, RetryPolicy, Transient
from tests.fakes import registry_faults as faults
from tests.fakes.certificates import Authority
from tests.fakes.proxy import ForwardProxy
from tests.fakes.raw_server import RawServer, send
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_scene import REPOSITORY, SETTINGS, WEIGHTS, failure, pull, push
from tests.ports import closed_port


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    with ForwardProxy() as opened:
        yield opened


def test_one_connection_serves_a_push_and_a_pull(registry: FakeRegistry) -> None:
    registry.protect(REPOSITORY, 'Basic realm="x"', "Basic YTpi")
    credentials = FixedCredentials({registry.address: Credential(username="a", password=Secret("b"))})
    with RegistrySession(SETTINGS, credentials) as session:
        push(session, registry)
        pull(session, registry)
        failure(lambda: RegistryTarget(session, registry.address, REPOSITORY).resolve("absent"))
        pull(session, registry)
    assert registry.connections == 1


def test_connections_that_were_closed_while_idle_are_replaced(
    registry: FakeRegistry, session: RegistrySession
) -> None:
    registry.add(REPOSITORY, "v1", b"{}")
    pull(session, registry)
    registry.hang_up()
    pull(session, registry)
    registry.hang_up()
    push(session, registry)


@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_what_is_said_before_the_answer_is_not_taken_for_it(session: RegistrySession, status: bytes) -> None:
    manifest = Index.build([]).raw
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
    interim = b"HTTP/1.1 %s\r\nLink: </style.css>; rel=preload\r\n\r\n" % status
    with RawServer(send(2 * interim + answer % (OCI_INDEX.encode(), len(manifest), manifest))) as server:
        target = RegistryTarget(session, server.address, REPOSITORY)
        assert target.resolve("v1").digest == Digest.of(manifest)
        assert len(server.heads) == 1


def test_requests_say_who_asks_and_want_no_encoding(registry: FakeRegistry) -> None:
    registry.add(REPOSITORY, "v1", b"{}")
    with RegistrySession(replace(SETTINGS, user_agent="mrpack/1.2.3")) as session:
        pull(session, registry)
    for request in registry.requests:
        assert request.headers["User-Agent"] == "mrpack/1.2.3"
        assert request.headers["Accept-Encoding"] == "identity"
        assert request.headers["Host"] == registry.address


def test_a_closed_port_is_unavailable() -> None:
    with closed_port() as port, RegistrySession(SETTINGS) as session:
        target = RegistryTarget(session, f"127.0.0.1:{port}", REPOSITORY)
        error = failure(lambda: target.resolve("v1"))
    assert isinstance(error, RegistryUnavailable)


@pytest.mark.parametrize("through_proxy", [False, True])
def test_a_place_that_never_took_a_connection_is_soon_given_up(*, through_proxy: bool) -> None:
    naps: list[float] = []
    with closed_port() as port, closed_port() as proxy_port:
        proxies = ProxySettings(http=f"http://127.0.0.1:{proxy_port}") if through_proxy else ProxySettings()
        settings = RegistrySettings(proxies=proxies, plain_http=frozenset({"registry.test"}))
        name = "registry.test" if through_proxy else f"127.0.0.1:{port}"
        with RegistrySession(settings, clock=Clock(sleep=naps.append)) as session:
            error = failure(lambda: RegistryTarget(session, name, REPOSITORY).resolve("v1"))
    assert "refused" in str(error)
    assert len(naps) == 2
    assert sum(naps) <= 2


def test_a_connection_that_breaks_is_told_without_a_number() -> None:
    assert describe(BrokenPipeError(errno.EPIPE, "Broken pipe")) == "Broken pipe"
    assert describe(TimeoutError()) == "TimeoutError"


def test_one_that_did_is_waited_for() -> None:
    """It may be starting anew."""
    naps: list[float] = []
    with closed_port() as port, RegistrySession(clock=Clock(sleep=naps.append)) as session:
        target = RegistryTarget(session, f"127.0.0.1:{port}", REPOSITORY)
        with RawServer(send(b"HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n"), port=port):
            assert isinstance(failure(lambda: target.resolve("v1")), NotFound)
        assert isinstance(failure(lambda: target.resolve("v1")), Transient)
    assert len(naps) == RetryPolicy().attempts - 1


def test_a_certificate_is_shown_to_the_registry_and_to_nobody_else(authority: Authority) -> None:
    settings = replace(
        SETTINGS,
        ca_file=authority.ca_file,
        client_certificate=authority.certificate,
        client_key=authority.key,
    )
    required, optional = (authority.server_context(mode) for mode in (ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL))
    with (
        FakeRegistry(required) as registry,
        FakeRegistry(optional) as stranger,
        RegistrySession(settings) as session,
    ):
        for place in (registry, stranger):
            place.add(REPOSITORY, "v1", WEIGHTS)
        registry.fault(REPOSITORY, faults.on_blobs(faults.redirect(stranger.url + "{target}")))
        pull(session, registry)
        assert registry.client_certificates == len(registry.requests) == 2
        assert (stranger.client_certificates, len(stranger.requests)) == (0, 1)


def test_certificate_files_that_are_none_are_named(tmp_path: Path, registry: FakeRegistry) -> None:
    (tmp_path / "garbage.pem").write_text("garbage")
    for name, error in (("garbage.pem", UsageError), ("absent.pem", NotFound)):
        with RegistrySession(replace(SETTINGS, ca_file=tmp_path / name)) as session:
            caught = failure(lambda s=session: s.check(registry.address))
        assert isinstance(caught, error)
        assert str(tmp_path / name) in str(caught)


def test_tls_goes_through_a_tunnel(authority: Authority, proxy: ForwardProxy) -> None:
    with FakeRegistry(authority.server_context()) as registry:
        registry.add(REPOSITORY, "v1", WEIGHTS)
        name = f"registry.test:{registry.port}"
        proxies = ProxySettings(https=f"http://user:hush@{proxy.address}")
        settings = replace(SETTINGS, ca_file=authority.ca_file, proxies=proxies)
        with RegistrySession(settings) as session:
            RegistryTarget(session, name, REPOSITORY).resolve("v1")
        (head,) = proxy.heads
        assert head.startswith(f"CONNECT {name} HTTP/1.1\n")
        assert "Proxy-Authorization: Basic dXNlcjpodXNo" in head
        assert not registry.saw("dXNlcjpodXNo")


def test_plain_http_is_asked_of_the_proxy_by_its_full_address(proxy: ForwardProxy) -> None:
    with FakeRegistry() as registry:
        manifest = registry.add(REPOSITORY, "v1", WEIGHTS)
        name = f"registry.test:{registry.port}"
        settings = replace(
            SETTINGS,
            plain_http=frozenset({name}),
            proxies=ProxySettings(http=f"http://user:hush@{proxy.address}"),
        )
        with RegistrySession(settings) as session:
            found = RegistryTarget(session, name, REPOSITORY).resolve("v1")
        assert found.digest == manifest.descriptor.digest
        assert proxy.heads[0].startswith(f"GET http://{name}/v2/{REPOSITORY}/manifests/v1 HTTP/1.1\n")
        assert "Proxy-Authorization" in proxy.heads[0]


@pytest.mark.parametrize(("status", "error"), [(407, AccessDenied), (502, RegistryUnavailable)])
def test_a_proxy_that_refuses_is_named(status: int, error: type[Exception]) -> None:
    with ForwardProxy(status) as proxy:
        settings = replace(SETTINGS, proxies=ProxySettings(https=proxy.address))
        with RegistrySession(settings) as session:
            refused = failure(lambda: session.check("registry.test"))
        assert isinstance(refused, error)
        assert proxy.address in str(refused)

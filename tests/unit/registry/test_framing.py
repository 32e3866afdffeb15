"""Answers that are no proper HTTP end in an error, soon and with little memory."""

from __future__ import annotations

import socket
import threading

import pytest

from mrpack.digest import Digest, read_verified
from mrpack.errors import (
    RegistryUnavailable,
)
from mrpack.oci.descriptor import Descriptor
from mrpack.registry import (
    RegistrySession,
    RegistrySettings,
    RegistryTarget,
)
from mrpack.registry.retry import RetryPolicy
from tests.fakes.raw_server import RawServer, Script, send, send_for_ever
from tests.fakes.registry import FakeRegistry, Reply, Request
from tests.fakes.registry_scene import PERSISTENT, REPOSITORY, failure

HEAD = b"HTTP/1.1 200 OK\r\n"
RAW: dict[str, Script] = {
    "nothing": send(b""),
    "not HTTP": send(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "no status": send(b"HTTP/1.1\r\n\r\n"),
    "endless status line": send_for_ever(b"x" * 4_096, b"HTTP/1.1 200 "),
    "endless headers": send_for_ever(b"X-A: b\r\n", HEAD),
    "one endless header": send_for_ever(b"x" * 4_096, HEAD + b"X-A: "),
    "200 KB of headers": send(
        HEAD + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 2_000) for n in range(99)) + b"\r\n"
    ),
    "endless 100 Continue": send_for_ever(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "two lengths": send(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
    "negative length": send(HEAD + b"Content-Length: -1\r\n\r\nabc"),
    "signed length": send(HEAD + b"Content-Length: +3\r\n\r\nabc"),
    "huge length": send(HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nabc"),
    "length and chunks": send(
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    ),
    "unknown coding": send(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\nabc"),
    "bad chunk size": send(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc"),
    "negative chunk size": send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc"),
    "endless chunk extension": send_for_ever(b"x" * 4_096, HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;"),
    "endless trailers": send_for_ever(b"X-A: b\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"),
    "endless one byte chunks": send_for_ever(b"1\r\n{\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n"),
}


@pytest.mark.parametrize("name", RAW)
def test_broken_http_ends_in_an_error(name: str) -> None:
    settings = RegistrySettings(retry=RetryPolicy(attempts=2, first_delay_s=0.001))
    with RawServer(RAW[name]) as server, RegistrySession(settings) as session:
        target = RegistryTarget(session, server.address, REPOSITORY)
        assert isinstance(failure(lambda: target.resolve("v1")), RegistryUnavailable)
        assert 1 <= len(server.heads) <= 2


def test_a_trickle_is_a_stall() -> None:
    settings = RegistrySettings(read_timeout_s=0.3, retry=RetryPolicy(attempts=1))
    over = threading.Event()

    def trickle(connection: socket.socket) -> None:
        while not over.wait(0.02):
            connection.sendall(b"H")

    with RawServer(trickle) as server, RegistrySession(settings) as session:
        target = RegistryTarget(session, server.address, REPOSITORY)
        assert isinstance(failure(lambda: target.resolve("v1")), RegistryUnavailable)
        over.set()


def test_leftover_bytes_are_not_the_next_answer(registry: FakeRegistry, session: RegistrySession) -> None:
    """The second answer hidden in the first one is not read."""
    manifest = registry.add(REPOSITORY, "v1", b"{}")
    poison = manifest.raw + b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

    def smuggle(request: Request, reply: Reply) -> Reply:
        if request.kind != "manifests":
            return reply
        return Reply(200, dict(reply.headers), poison, declared=len(manifest.raw))

    registry.fault(REPOSITORY, smuggle)
    target = RegistryTarget(session, registry.address, REPOSITORY)
    for _ in range(3):
        assert target.resolve("v1").digest == manifest.descriptor.digest
        assert target.exists(manifest.config)


def test_a_connection_that_is_dropped_with_the_next_request_is_replaced_at_once() -> None:
    """A server may close an idle connection just when it is used again; that is no failure."""
    settings = RegistrySettings(retry=RetryPolicy(attempts=1))
    with RawServer(send(HEAD + b"Content-Length: 2\r\n\r\n{}")) as server:
        # The connection is closed behind the answer, with or without the client having noticed.
        with RegistrySession(settings) as session:
            for _ in range(20):
                session.check(server.address)
        assert len(server.heads) == 20


def test_bytes_that_are_all_there_are_not_lost_to_a_connection_that_stays_open() -> None:
    content = b"x" * 1_000
    blob = Descriptor(media_type="a/b", digest=Digest.of(content), size=len(content))
    over = threading.Event()

    def never_close(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Connection: close\r\n\r\n" + content)
        over.wait()

    with RawServer(never_close) as server, RegistrySession(PERSISTENT) as session:
        source = RegistryTarget(session, server.address, REPOSITORY).fetch(blob)
        try:
            assert read_verified(source, blob.digest, blob.size, limit=blob.size) == content
        finally:
            over.set()

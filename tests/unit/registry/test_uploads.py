"""Pushes to a registry that loses, refuses or misplaces them."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from mrpack.content.copy import copy
from mrpack.digest import ByteSource, BytesSource, Digest
from mrpack.errors import (
    AccessDenied,
    IntegrityError,
    InvalidArtifact,
    MrpackError,
    NotFound,
    RegistryUnavailable,
    TransferError,
    Unsupported,
    UsageError,
)
from mrpack.registry import (
    RegistrySession,
    RegistryTarget,
)
from tests.fakes import registry_faults as faults
from tests.fakes.certificates import Authority
from tests.fakes.raw_server import RawServer
from tests.fakes.registry import FakeRegistry, Fault, Instead, Reply, error_reply
from tests.fakes.registry_scene import REPOSITORY, SETTINGS, WEIGHTS, describe, failure, push

HEX = "a" * 64


def test_a_foreign_upload_location_gets_the_bytes_and_nothing_else(
    registry: FakeRegistry, stranger: FakeRegistry, session: RegistrySession
) -> None:
    registry.fault(REPOSITORY, faults.upload_location(stranger.url + "/storage?signature=1"))
    target = RegistryTarget(session, registry.address, REPOSITORY)
    error = failure(lambda: target.push(describe(WEIGHTS), lambda offset: BytesSource(WEIGHTS[offset:])))
    assert isinstance(error, RegistryUnavailable)
    (request, *_) = stranger.seen("PUT")
    assert request.target == f"/storage?signature=1&digest=sha256%3A{Digest.of(WEIGHTS).hex}"
    assert request.body == WEIGHTS


def put(reply: Reply, times: int | None = None) -> Instead:
    return Instead("blobs/uploads", "PUT", reply, times)


def post(reply: Reply, times: int | None = None) -> Instead:
    return Instead("blobs/uploads", "POST", reply, times)


UPLOADS: dict[str, tuple[Fault | Instead, type[MrpackError] | None]] = {
    "stored nothing": (put(Reply(201)), RegistryUnavailable),
    "session lost once": (put(error_reply(404, "BLOB_UPLOAD_UNKNOWN"), 1), None),
    "session lost for ever": (put(error_reply(404, "BLOB_UPLOAD_UNKNOWN")), RegistryUnavailable),
    "session invalid once": (put(error_reply(400, "BLOB_UPLOAD_INVALID"), 1), None),
    "416 once": (put(Reply(416), 1), None),
    "416 for ever": (put(Reply(416)), RegistryUnavailable),
    "202 for the last byte": (put(Reply(202)), RegistryUnavailable),
    "503 twice": (put(Reply(503), 2), None),
    "503 for ever": (put(Reply(503)), RegistryUnavailable),
    "503 at the start": (post(Reply(503), 2), None),
    "repository unknown": (post(error_reply(404, "NAME_UNKNOWN")), NotFound),
    "digest refused": (put(error_reply(400, "DIGEST_INVALID")), IntegrityError),
    "413": (put(error_reply(413, "SIZE_LIMIT")), Unsupported),
    "405": (post(error_reply(405, "UNSUPPORTED")), Unsupported),
    "name refused": (post(error_reply(400, "NAME_INVALID")), UsageError),
    "not allowed": (post(error_reply(403, "DENIED")), AccessDenied),
    "redirect": (post(Reply(307, {"Location": "/v2/"})), RegistryUnavailable),
    "no location": (post(Reply(202)), RegistryUnavailable),
    "file location": (faults.upload_location("file:///etc/passwd"), RegistryUnavailable),
    "another digest": (
        faults.on("blobs/uploads", "PUT", faults.header("Docker-Content-Digest", f"sha256:{HEX}")),
        IntegrityError,
    ),
    "no digest header": (
        faults.on("blobs/uploads", "PUT", faults.without_header("Docker-Content-Digest")),
        None,
    ),
    "manifest refused": (
        Instead("manifests", "PUT", error_reply(400, "MANIFEST_INVALID")),
        InvalidArtifact,
    ),
    "blob unknown": (Instead("manifests", "PUT", error_reply(400, "MANIFEST_BLOB_UNKNOWN")), NotFound),
    "manifest put off": (Instead("manifests", "PUT", Reply(503), 2), None),
    "manifest under another digest": (
        faults.on("manifests", "PUT", faults.header("Docker-Content-Digest", f"sha256:{HEX}")),
        IntegrityError,
    ),
}


@pytest.mark.parametrize("name", UPLOADS)
def test_pushes_end_as_stated(registry: FakeRegistry, session: RegistrySession, name: str) -> None:
    fault, error = UPLOADS[name]
    registry.fault(REPOSITORY, fault)
    if error is None:
        push(session, registry)
        assert registry.blobs[REPOSITORY, str(Digest.of(WEIGHTS))] == WEIGHTS
    else:
        assert isinstance(failure(lambda: push(session, registry)), error)


def test_an_answer_that_got_lost_costs_no_second_upload(
    registry: FakeRegistry, session: RegistrySession
) -> None:
    """The registry has the blob, but its proxy lost the answer."""
    registry.fault(REPOSITORY, faults.on("blobs/uploads", "PUT", faults.answer(Reply(502))))
    push(session, registry)
    assert len(registry.seen("PUT", "blobs/uploads")) == 2, "one for each of the two blobs"


@pytest.mark.parametrize("fault", [faults.cut(1), faults.refuse(404, "BLOB_UNKNOWN"), faults.flip_last_byte])
def test_a_source_that_fails_is_blamed_and_the_push_is_not_repeated(
    registry: FakeRegistry, stranger: FakeRegistry, session: RegistrySession, fault: Fault
) -> None:
    manifest = stranger.add(REPOSITORY, "v1", b"{}", WEIGHTS)
    stranger.fault(
        REPOSITORY,
        lambda request, reply: fault(request, reply) if request.kind == "blobs" else reply,
    )
    source = RegistryTarget(session, stranger.address, REPOSITORY)
    with pytest.raises(TransferError) as caught:
        copy(source, "v1", RegistryTarget(session, registry.address, REPOSITORY), "v1", jobs=1)
    if not isinstance(caught.value.cause, IntegrityError):
        assert caught.value.side == "source"
    assert not any(registry.blobs.get((REPOSITORY, str(blob.digest))) for blob in manifest.layers)
    assert len(registry.seen("POST", "blobs/uploads")) <= 2
    assert (REPOSITORY, "v1") not in registry.manifests


def test_an_upload_that_a_mount_opened_is_used(registry: FakeRegistry, session: RegistrySession) -> None:
    source = RegistryTarget(session, registry.address, "team/other")
    target = RegistryTarget(session, registry.address, REPOSITORY)
    assert not target.mount(describe(WEIGHTS), source)
    target.push(describe(WEIGHTS), lambda offset: BytesSource(WEIGHTS[offset:]))
    assert target.exists(describe(WEIGHTS))
    assert len(registry.seen("POST", "blobs/uploads")) == 1


def test_a_manifest_no_registry_would_take_is_not_sent(
    registry: FakeRegistry, session: RegistrySession
) -> None:
    raw = bytes(5_000_000)
    target = RegistryTarget(session, registry.address, REPOSITORY)
    error = failure(lambda: target.push_manifest(describe(raw), raw, "v1"))
    assert isinstance(error, InvalidArtifact)
    assert not registry.requests


class OpenFile:
    """As the local store opens its blobs; `taken` counts what went out through the kernel."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDONLY)
        self.taken = 0

    def readinto(self, buffer: memoryview, /) -> int:
        return os.readv(self._handle, [buffer])

    def fileno(self) -> int:
        return self._handle

    def advance(self, count: int) -> None:
        self.taken += count

    def close(self) -> None:
        os.close(self._handle)


def test_a_file_goes_out_through_the_kernel(
    registry: FakeRegistry, session: RegistrySession, tmp_path: Path
) -> None:
    content = os.urandom(5_000_000)
    (tmp_path / "blob").write_bytes(content)
    file = OpenFile(tmp_path / "blob")
    target = RegistryTarget(session, registry.address, REPOSITORY)
    target.push(describe(content), lambda _offset: file)
    assert registry.blobs[REPOSITORY, str(Digest.of(content))] == content
    assert file.taken == len(content)


def test_a_file_is_read_where_tls_has_to_see_it(authority: Authority, tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    (tmp_path / "blob").write_bytes(content)
    file = OpenFile(tmp_path / "blob")
    with (
        FakeRegistry(authority.server_context()) as registry,
        RegistrySession(replace(SETTINGS, ca_file=authority.ca_file)) as session,
    ):
        RegistryTarget(session, registry.address, REPOSITORY).push(describe(content), lambda _offset: file)
        assert registry.blobs[REPOSITORY, str(Digest.of(content))] == content
    assert file.taken == 0


@pytest.mark.parametrize("size", [0, 999, 1_001])
def test_a_file_of_another_size_is_not_sent(
    registry: FakeRegistry, session: RegistrySession, tmp_path: Path, size: int
) -> None:
    (tmp_path / "blob").write_bytes(bytes(size))
    target = RegistryTarget(session, registry.address, REPOSITORY)
    error = failure(lambda: target.push(describe(bytes(1_000)), lambda _offset: OpenFile(tmp_path / "blob")))
    assert isinstance(error, IntegrityError)
    assert not target.exists(describe(bytes(1_000)))


@pytest.mark.parametrize("as_file", [False, True])
def test_a_registry_that_stops_taking_bytes_is_given_up(tmp_path: Path, as_file: bool) -> None:
    content = bytes(20_000_000)
    (tmp_path / "blob").write_bytes(content)
    over = threading.Event()
    accept = b"HTTP/1.1 202 Accepted\r\nLocation: /v2/x\r\nContent-Length: 0\r\n\r\n"

    def take_no_more(connection: socket.socket) -> None:
        connection.sendall(accept)
        connection.recv(1_000)
        over.wait()

    with RawServer(take_no_more) as server, RegistrySession(replace(SETTINGS, read_timeout_s=0.2)) as session:
        target = RegistryTarget(session, server.address, REPOSITORY)

        def open_at(offset: int) -> ByteSource:
            return OpenFile(tmp_path / "blob") if as_file else BytesSource(content[offset:])

        try:
            assert isinstance(failure(lambda: target.push(describe(content), open_at)), RegistryUnavailable)
        finally:
            over.set()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_answer_in_the_middle_of_an_upload_is_heard(authority: Authority, scheme: str) -> None:
    """As a proxy gives it that limits bodies: it answers, reads no more and hangs up."""
    content = bytes(20_000_000)

    def refuse(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nLocation: /v2/x\r\nContent-Length: 0\r\n\r\n")
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    settings = SETTINGS if scheme == "http" else replace(SETTINGS, ca_file=authority.ca_file)
    tls = None if scheme == "http" else authority.server_context()
    with RawServer(refuse, tls) as server, RegistrySession(settings) as session:
        target = RegistryTarget(session, server.address, REPOSITORY)
        error = failure(lambda: target.push(describe(content), lambda at: BytesSource(content[at:])))
    assert isinstance(error, AccessDenied)

"""Push and pull through real registries: anonymous, htpasswd, tokens, TLS, pull-through."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from pathlib import Path

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.content.progress import Event, Finished, Outcome
from mrpack.digest import ByteSource, BytesSource, Digest
from mrpack.errors import (
    AccessDenied,
    IntegrityError,
    NotFound,
    RegistryUnavailable,
    TransferError,
    Unsupported,
)
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest
from mrpack.registry import (
    Credential,
    FixedCredentials,
    RegistrySession,
    RegistrySettings,
    RegistryTarget,
    Secret,
)
from tests.fakes.distribution import Distribution
from tests.fakes.token_server import TokenServer
from tests.integration.conftest import PASSWORD, USER, Registry
from tests.integration.skopeo import Skopeo
from tests.ports import closed_port, lasting_port
from tests.waiting import until

pytestmark = pytest.mark.registry

ACTIONS = {"pull", "push"}
WRITABLE = ["anonymous", "htpasswd", "token", "tls"]
_numbers = itertools.count()


@pytest.fixture
def registry(request: pytest.FixtureRequest) -> Registry:
    return request.getfixturevalue(f"{request.param}_registry")


@pytest.fixture
def repository() -> str:
    """A new one each time: registries cache what they have seen."""
    return f"team/model-{os.getpid()}-{next(_numbers)}"


def artifact(*sizes: int) -> tuple[MemoryTarget, Manifest]:
    """A model of the Docker family under the tag `v1`."""
    memory = MemoryTarget()
    config = memory.add("application/vnd.docker.ai.model.config.v0.1+json", b'{"config":{}}')
    layers = [memory.add("application/vnd.docker.ai.gguf.v3", os.urandom(size)) for size in sizes]
    manifest = Manifest.build(config=config, layers=layers)
    memory.push_manifest(manifest.descriptor, manifest.raw, "v1")
    return memory, manifest


def outcomes(events: list[Event]) -> list[Outcome]:
    return [event.outcome for event in events if isinstance(event, Finished)]


@pytest.mark.parametrize("registry", WRITABLE, indirect=True)
def test_content_comes_back_as_it_went(registry: Registry, repository: str) -> None:
    memory, manifest = artifact(3_000_000, 1, 0)
    with registry.session() as session:
        target = RegistryTarget(session, registry.name, repository)
        copy(memory, "v1", target, "v1")
        assert target.resolve("v1").digest == manifest.descriptor.digest
        assert target.tags() == ["v1"]
    back = MemoryTarget()
    with registry.session() as session:
        copy(RegistryTarget(session, registry.name, repository), "v1", back, "v1")
    assert back.resolve("v1").digest == manifest.descriptor.digest
    assert all(back.exists(blob) for blob in manifest.blobs)


@pytest.mark.parametrize("registry", WRITABLE, indirect=True)
def test_what_is_there_is_neither_sent_twice_nor_sent_to_a_neighbour(
    registry: Registry, repository: str
) -> None:
    memory, _ = artifact(10_000, 20_000)
    with registry.session() as session:
        first = RegistryTarget(session, registry.name, repository)
        copy(memory, "v1", first, "v1")
        events: list[Event] = []
        copy(memory, "v1", first, "v2", report=events.append)
        assert outcomes(events) == [Outcome.EXISTING] * 3
        neighbour = RegistryTarget(session, registry.name, f"{repository}-neighbour")
        events.clear()
        copy(first, "v2", neighbour, "v3", report=events.append)
        assert outcomes(events) == [Outcome.MOUNTED] * 3
        assert neighbour.tags() == ["v3"]


@pytest.mark.parametrize("registry", ["anonymous", "tls"], indirect=True)
def test_a_file_is_sent_whole(registry: Registry, repository: str, tmp_path: Path) -> None:
    content = os.urandom(9_000_000)
    file = tmp_path / "weights"
    file.write_bytes(content)
    with registry.session() as session:
        target = RegistryTarget(session, registry.name, repository)
        target.push(descriptor_of(content), lambda offset: FileSource(file, offset))
        assert read_all(target.fetch(descriptor_of(content))) == content


@pytest.mark.parametrize("registry", ["anonymous", "tls"], indirect=True)
def test_the_registry_refuses_a_file_that_is_not_what_we_say(
    registry: Registry, repository: str, tmp_path: Path
) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"changed behind our back")
    promised = descriptor_of(b"changed behind our bacc")
    with registry.session() as session:
        target = RegistryTarget(session, registry.name, repository)
        with pytest.raises(IntegrityError):
            target.push(promised, lambda offset: FileSource(file, offset))
        assert not target.exists(promised)


@pytest.mark.parametrize("registry", [*WRITABLE, "pull_through"], indirect=True)
def test_a_name_that_is_not_there_is_not_found(registry: Registry, repository: str) -> None:
    with registry.session() as session:
        target = RegistryTarget(session, registry.name, repository)
        with pytest.raises(NotFound):
            target.resolve("v1")
        with pytest.raises(NotFound):
            target.fetch(descriptor_of(b"absent"))


@pytest.mark.parametrize("registry", ["anonymous"], indirect=True)
def test_a_part_of_a_blob_is_asked_for_by_its_range(registry: Registry, repository: str) -> None:
    content = os.urandom(100_000)
    with registry.session() as session:
        target = RegistryTarget(session, registry.name, repository)
        target.push(descriptor_of(content), lambda offset: BytesSource(content[offset:]))
        assert read_all(target.fetch(descriptor_of(content), 70_000)) == content[70_000:]
        assert read_all(target.fetch_range(descriptor_of(content), 10, 20)) == content[10:20]


@pytest.mark.parametrize("registry", ["htpasswd", "token"], indirect=True)
def test_without_credentials_a_push_is_denied(registry: Registry, repository: str) -> None:
    memory, _ = artifact(1_000)
    with registry.anonymous() as session, pytest.raises(TransferError) as caught:
        copy(memory, "v1", RegistryTarget(session, registry.name, repository), "v1")
    assert isinstance(caught.value.cause, AccessDenied)
    assert f"mrpack login {registry.name}" in str(caught.value)


@pytest.mark.parametrize("registry", ["htpasswd", "token"], indirect=True)
def test_a_wrong_password_is_denied_and_never_shown(registry: Registry, repository: str) -> None:
    wrong = {registry.name: Credential(username=USER, password=Secret("hunter2"))}
    with RegistrySession(registry.settings, FixedCredentials(wrong)) as session:
        with pytest.raises(AccessDenied) as caught:
            RegistryTarget(session, registry.name, repository).resolve("v1")
        with pytest.raises(AccessDenied):
            session.check(registry.name)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("registry", ["anonymous", "htpasswd", "token", "tls"], indirect=True)
def test_good_credentials_pass_the_login_check(registry: Registry) -> None:
    with registry.session() as session:
        session.check(registry.name)


def test_one_token_is_enough_for_a_push(
    token_registry: Registry, token_server: TokenServer, repository: str
) -> None:
    memory, _ = artifact(1_000, 2_000, 3_000)
    before = len(token_server.grants)
    with token_registry.session() as session:
        copy(memory, "v1", RegistryTarget(session, token_registry.name, repository), "v1")
    (grant,) = token_server.grants[before:]
    assert grant.user == USER
    assert {action for scope in grant.scopes for action in scope.split(":")[-1].split(",")} == {
        "pull",
        "push",
    }


def test_everybody_may_pull_where_tokens_say_so(token_registry: Registry, repository: str) -> None:
    memory, manifest = artifact(1_000)
    with token_registry.session() as session:
        copy(memory, "v1", RegistryTarget(session, token_registry.name, repository), "v1")
    back = MemoryTarget()
    with token_registry.anonymous() as session:
        copy(RegistryTarget(session, token_registry.name, repository), "v1", back, "v1")
    assert back.exists(manifest.layers[0])


def test_an_identity_token_is_exchanged(
    token_registry: Registry, token_server: TokenServer, repository: str
) -> None:
    identity = {token_registry.name: Credential(identity_token=Secret(f"refresh-{USER}"))}
    memory, _ = artifact(1_000)
    with RegistrySession(token_registry.settings, FixedCredentials(identity)) as session:
        copy(memory, "v1", RegistryTarget(session, token_registry.name, repository), "v1")
    assert token_server.grants[-1].method == "POST"


def test_credentials_stay_at_home_when_the_token_service_is_not_trusted(
    token_registry: Registry, token_server: TokenServer, repository: str
) -> None:
    secret = FixedCredentials({token_registry.name: Credential(username=USER, password=Secret(PASSWORD))})
    memory, _ = artifact(1_000)
    before = len(token_server.grants)
    with RegistrySession(RegistrySettings(), secret) as session:
        with pytest.raises(TransferError) as caught:
            copy(memory, "v1", RegistryTarget(session, token_registry.name, repository), "v1")
        with pytest.raises(AccessDenied):
            session.check(token_registry.name)
    assert "token_realms" in str(caught.value)
    assert {grant.user for grant in token_server.grants[before:]} == {None}


def test_an_unknown_authority_is_refused_with_a_hint(tls_registry: Registry, repository: str) -> None:
    settings = RegistrySettings(tls=frozenset({tls_registry.name}))
    with RegistrySession(settings) as session, pytest.raises(RegistryUnavailable) as caught:
        RegistryTarget(session, tls_registry.name, repository).resolve("v1")
    assert "--ca-file" in str(caught.value)


def test_an_unchecked_certificate_is_a_choice(tls_registry: Registry, repository: str) -> None:
    settings = RegistrySettings(skip_verify=frozenset({tls_registry.name}))
    with RegistrySession(settings) as session:
        session.check(tls_registry.name)


def test_plain_http_against_tls_and_the_other_way_round_say_what_is_wrong(
    anonymous_registry: Registry, tls_registry: Registry
) -> None:
    settings = RegistrySettings(tls=frozenset({anonymous_registry.name}))
    with RegistrySession(settings) as session, pytest.raises(RegistryUnavailable) as caught:
        session.check(anonymous_registry.name)
    assert "--plain-http" in str(caught.value)
    with RegistrySession() as session, pytest.raises(RegistryUnavailable):
        session.check(tls_registry.name)


def test_a_pull_through_registry_gives_what_its_upstream_has(
    anonymous_registry: Registry, pull_through_registry: Registry, repository: str
) -> None:
    memory, manifest = artifact(100_000)
    with RegistrySession() as session:
        copy(memory, "v1", RegistryTarget(session, anonymous_registry.name, repository), "v1")
        cache = RegistryTarget(session, pull_through_registry.name, repository)
        for _ in range(2):
            back = MemoryTarget()
            copy(cache, "v1", back, "v1")
            assert all(back.exists(blob) for blob in manifest.blobs)


def test_a_pull_through_registry_takes_no_push(pull_through_registry: Registry, repository: str) -> None:
    with RegistrySession() as session, pytest.raises(Unsupported):
        RegistryTarget(session, pull_through_registry.name, repository).push(
            descriptor_of(b"content"), lambda _offset: BytesSource(b"content")
        )


def test_a_mirror_is_asked_first_and_its_failure_passed_over(
    anonymous_registry: Registry, pull_through_registry: Registry, repository: str
) -> None:
    memory, manifest = artifact(1_000)
    name, mirror = anonymous_registry.name, pull_through_registry.name
    with (
        closed_port() as closed,
        RegistrySession(RegistrySettings(mirrors={name: (f"127.0.0.1:{closed}", mirror)})) as session,
    ):
        copy(memory, "v1", RegistryTarget(session, name, repository), "v1")
        back = MemoryTarget()
        copy(RegistryTarget(session, name, repository), "v1", back, "v1")
    assert back.exists(manifest.layers[0])
    until(lambda: repository in pull_through_registry.process.log, "the request in the mirror's log")


def test_a_registry_that_restarts_in_the_middle_of_a_push_gets_all_of_it(
    docker_registry: None, repository: str, tmp_path: Path
) -> None:
    memory, manifest = artifact(4_000_000)
    (weights,) = manifest.layers
    first = Distribution(tmp_path, {"http": {"addr": f"127.0.0.1:{lasting_port()}"}})
    restarted: list[Distribution] = []

    class Interrupting:
        """Restarts the registry when half of the blob has been handed out."""

        def __init__(self, inner: ByteSource) -> None:
            self._inner = inner
            self._count = 0

        def readinto(self, buffer: memoryview, /) -> int:
            self._count += (count := self._inner.readinto(buffer))
            if self._count > 2_000_000 and not restarted:
                first.close()
                restarted.append(Distribution(tmp_path, {"http": {"addr": first.name}}))
            return count

        def close(self) -> None:
            self._inner.close()

    try:
        with RegistrySession() as session:
            target = RegistryTarget(session, first.name, repository)
            target.push(weights, lambda offset: Interrupting(memory.fetch(weights, offset)))
            copy(memory, "v1", target, "v1")
            assert target.resolve("v1").digest == manifest.descriptor.digest
        assert restarted
    finally:
        for process in (first, *restarted):
            process.close()


def test_threads_share_one_session(anonymous_registry: Registry, repository: str) -> None:
    memory, _ = artifact(*[50_000] * 20)
    failures: list[BaseException] = []

    def target(number: int) -> RegistryTarget:
        """Of its own: Distribution 2.8 takes a blob for missing while another pushes it to the repository."""
        return RegistryTarget(session, anonymous_registry.name, f"{repository}-{number}")

    def work(number: int) -> None:
        try:
            copy(memory, "v1", target(number), f"t{number}")
        except BaseException as error:
            failures.append(error)

    with RegistrySession() as session:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert [target(number).tags() for number in range(4)] == [["t0"], ["t1"], ["t2"], ["t3"]]


def test_a_blob_under_its_sha512_digest_comes_back(anonymous_registry: Registry, repository: str) -> None:
    """Distribution answers with the sha256 digest, under which it keeps the bytes, and gives them by both."""
    content = os.urandom(1_000)
    digest = Digest.parse(f"sha512:{hashlib.sha512(content).hexdigest()}")
    blob = Descriptor(media_type="application/octet-stream", digest=digest, size=len(content))
    with RegistrySession() as session:
        target = RegistryTarget(session, anonymous_registry.name, repository)
        target.push(blob, lambda _offset: BytesSource(content))
        assert read_all(target.fetch(blob)) == content


def test_another_client_reads_what_was_pushed_and_writes_what_is_pulled(
    anonymous_registry: Registry, repository: str, skopeo: Skopeo
) -> None:
    memory, manifest = artifact(200_000, 5)
    with RegistrySession() as session:
        copy(memory, "v1", RegistryTarget(session, anonymous_registry.name, repository), "v1")
    base = f"docker://{anonymous_registry.name}/{repository}"
    assert skopeo("inspect", "--raw", "--tls-verify=false", f"{base}:v1").encode() == manifest.raw
    skopeo.copy(f"{base}:v1", f"{base}-copy:v2")
    back = MemoryTarget()
    with RegistrySession() as session:
        copy(RegistryTarget(session, anonymous_registry.name, f"{repository}-copy"), "v2", back, "v2")
    assert back.resolve("v2").digest == manifest.descriptor.digest


def descriptor_of(content: bytes) -> Descriptor:
    return Descriptor(media_type="application/octet-stream", digest=Digest.of(content), size=len(content))


class FileSource:
    """As the local store opens its blobs."""

    def __init__(self, path: Path, offset: int) -> None:
        self._handle = os.open(path, os.O_RDONLY)
        os.lseek(self._handle, offset, os.SEEK_SET)

    def readinto(self, buffer: memoryview, /) -> int:
        return os.readv(self._handle, [buffer])

    def fileno(self) -> int:
        return self._handle

    def close(self) -> None:
        os.close(self._handle)


def read_all(source: ByteSource) -> bytes:
    content = bytearray()
    buffer = memoryview(bytearray(65_536))
    while count := source.readinto(buffer):
        content += buffer[:count]
    source.close()
    return bytes(content)

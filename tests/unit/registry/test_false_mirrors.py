"""Mirrors that give something wrong, or break off: the registry itself is asked, and one line says why."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mrpack.content.artifacts import read_small
from mrpack.content.copy import copy, copy_blobs
from mrpack.content.memory import MemoryTarget
from mrpack.content.ports import Opener, Target
from mrpack.content.progress import silent
from mrpack.errors import IntegrityError
from mrpack.oci.descriptor import Descriptor
from mrpack.registry import RegistrySession, RegistryTarget
from mrpack.store.archive import OciArchive
from mrpack.store.blobs import BlobFolder
from mrpack.store.layout import OciLayout
from tests.fakes import registry_faults as faults
from tests.fakes.registry import FakeRegistry, Fault, Reply
from tests.fakes.registry_scene import PERSISTENT, REPOSITORY, SETTINGS, WEIGHTS, failure, pull
from tests.unit.registry.test_parts import BLOB, CONTENT, SIZES

LAYERS = (WEIGHTS, WEIGHTS[::-1])


@pytest.fixture
def mirror() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def mirrored(registry: FakeRegistry, mirror: FakeRegistry) -> Iterator[RegistrySession]:
    """Both have the same model."""
    for place in (registry, mirror):
        place.add(REPOSITORY, "v1", b"{}", *LAYERS)
    with RegistrySession(replace(SETTINGS, mirrors={registry.address: (mirror.address,)})) as session:
        yield session


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


FALSE: dict[str, Fault] = {
    "other bytes": faults.body(bytes(len(WEIGHTS))),
    "a flipped byte": faults.flip_last_byte,
    "a page of a proxy": faults.body(b"<html>"),
    "shorter, in chunks": lambda request, reply: faults.chunked(request, faults.body(b"x")(request, reply)),
    "longer": faults.body(bytes(len(WEIGHTS) + 1)),
    "endless": faults.endless,
    "encoded": faults.header("Content-Encoding", "gzip"),
    "it breaks off again and again": faults.cut(1_000),
    "it breaks off before the first byte": faults.cut(0, "reset"),
    "it calls the digest invalid": faults.refuse(400, "DIGEST_INVALID"),
}


@pytest.mark.parametrize("name", FALSE)
def test_a_mirror_of_false_blobs_is_given_up_for_the_registry(
    registry: FakeRegistry,
    mirror: FakeRegistry,
    mirrored: RegistrySession,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    mirror.fault(REPOSITORY, faults.on_blobs(FALSE[name]))
    source, target = RegistryTarget(mirrored, registry.address, REPOSITORY), OciLayout(tmp_path / "layout")
    root = copy(source, "v1", target, "v1", jobs=1)
    assert target.resolve("v1") == root
    (line,) = warnings(caplog)
    assert line.startswith(f"mirror {mirror.address}: ")
    assert line.endswith("; going on without it")
    assert not registry.seen("GET", "manifests")
    assert len({request.name for request in registry.seen("GET", "blobs")}) == 3
    assert len({request.name for request in mirror.seen("GET", "blobs")}) == 1, "nor asked for the others"


TARGETS: dict[str, Callable[[Path, RegistryTarget], Target]] = {
    "memory": lambda _folder, _elsewhere: MemoryTarget(),
    "archive": lambda folder, _elsewhere: OciArchive(folder / "archive.tar"),
    "registry": lambda _folder, elsewhere: elsewhere,
}


@pytest.mark.parametrize("kind", TARGETS)
def test_so_it_is_wherever_the_blobs_go(
    registry: FakeRegistry,
    mirror: FakeRegistry,
    stranger: FakeRegistry,
    mirrored: RegistrySession,
    tmp_path: Path,
    kind: str,
) -> None:
    mirror.fault(REPOSITORY, faults.on_blobs(faults.flip_last_byte))
    source = RegistryTarget(mirrored, registry.address, REPOSITORY)
    target = TARGETS[kind](tmp_path, RegistryTarget(mirrored, stranger.address, REPOSITORY))
    assert copy(source, "v1", target, "v1", jobs=1).digest == target.resolve("v1").digest
    assert registry.seen("GET", "blobs")


def test_a_mirror_that_breaks_off_is_asked_for_the_rest_as_long_as_it_moves(
    registry: FakeRegistry, mirror: FakeRegistry, mirrored: RegistrySession
) -> None:
    for place in (registry, mirror):
        place.add(REPOSITORY, "v1", b"{}", bytes(1_000_000))
    mirror.fault(REPOSITORY, faults.on_blobs(faults.cut(100_000)))
    pull(mirrored, registry)
    assert not registry.seen()


def test_a_mirror_that_stalls_is_waited_for_once(
    registry: FakeRegistry, mirror: FakeRegistry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for place in (registry, mirror):
        layers = place.add(REPOSITORY, "v1", b"{}", *LAYERS).layers
    mirror.fault(REPOSITORY, faults.on_blobs(faults.cut(1_000, "stall")))
    layout = OciLayout(tmp_path / "layout")
    with RegistrySession(replace(PERSISTENT, mirrors={registry.address: (mirror.address,)})) as session:
        copy_blobs(RegistryTarget(session, registry.address, REPOSITORY), layers, layout, 1, silent)
    assert all(layout.exists(layer) for layer in layers)
    assert len(warnings(caplog)) == 1
    assert len(mirror.seen("GET", "blobs")) == 1


class Blobs(BlobFolder):
    """As a layout uses it, with small parts."""

    def exists(self, blob: Descriptor) -> bool:
        return self.has(blob.digest, blob.size)

    def push(self, blob: Descriptor, open_at: Opener) -> None:
        self.add(blob.digest, blob.size, open_at)


@pytest.mark.parametrize("fault", [faults.flip_last_byte, faults.cut(1_000)], ids=["other bytes", "cut"])
def test_so_it_is_with_large_blobs_in_parts(
    registry: FakeRegistry, mirror: FakeRegistry, mirrored: RegistrySession, tmp_path: Path, fault: Fault
) -> None:
    for place in (registry, mirror):
        place.blobs[REPOSITORY, str(BLOB.digest)] = CONTENT
    mirror.fault(REPOSITORY, faults.on_blobs(fault))
    folder = Blobs(tmp_path / "layout", SIZES)
    copy_blobs(RegistryTarget(mirrored, registry.address, REPOSITORY), (BLOB,), folder, 1, silent)
    assert folder.path(BLOB.digest).read_bytes() == CONTENT
    assert len(registry.seen("GET", "blobs")) > 1


def test_a_mirror_of_several_is_given_up_for_the_next(
    registry: FakeRegistry, mirror: FakeRegistry, stranger: FakeRegistry
) -> None:
    for place in (registry, mirror, stranger):
        place.add(REPOSITORY, "v1", b"{}", WEIGHTS)
    mirror.fault(REPOSITORY, faults.on_blobs(faults.flip_last_byte))
    mirrors = {registry.address: (mirror.address, stranger.address)}
    with RegistrySession(replace(SETTINGS, mirrors=mirrors)) as session:
        pull(session, registry)
    assert not registry.seen()


def test_wrong_bytes_of_the_registry_itself_are_still_the_end(
    registry: FakeRegistry,
    mirror: FakeRegistry,
    mirrored: RegistrySession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for place in (registry, mirror):
        place.fault(REPOSITORY, faults.on_blobs(faults.flip_last_byte))
    assert isinstance(failure(lambda: pull(mirrored, registry)), IntegrityError)
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(faults.body(b'{"schemaVersion":2}'), id="another document"),
        pytest.param(faults.answer(Reply(200, {"Content-Type": "text/html"}, b"<html>")), id="a page"),
        pytest.param(faults.header("Content-Type", "text/html"), id="of another type"),
        pytest.param(faults.body(b""), id="nothing"),
        pytest.param(faults.endless, id="endless"),
        pytest.param(faults.cut(10), id="it breaks off"),
    ],
)
def test_a_mirror_of_false_documents_is_passed_over(
    registry: FakeRegistry, mirror: FakeRegistry, mirrored: RegistrySession, fault: Fault
) -> None:
    honest = registry.add(REPOSITORY, "v2", b"{}", WEIGHTS).descriptor
    mirror.add(REPOSITORY, "v2", b"{}", WEIGHTS)
    mirror.fault(REPOSITORY, faults.on("manifests", "GET", fault))
    for ref in ("v2", str(honest.digest)):
        assert RegistryTarget(mirrored, registry.address, REPOSITORY).resolve(ref).digest == honest.digest
    with closing(RegistryTarget(mirrored, registry.address, REPOSITORY).fetch(honest)) as stream:
        buffer = memoryview(bytearray(honest.size))
        assert stream.readinto(buffer) == honest.size
    assert [request.name for request in registry.seen("GET", "manifests")][:2] == ["v2", str(honest.digest)]


def test_a_small_blob_is_read_from_the_registry_when_the_mirrors_is_wrong(
    registry: FakeRegistry, mirror: FakeRegistry, mirrored: RegistrySession
) -> None:
    """As `inspect` reads a config."""
    mirror.fault(REPOSITORY, faults.on_blobs(faults.body(b"[]")))
    config = registry.add(REPOSITORY, "v1", b"{}").config
    target = RegistryTarget(mirrored, registry.address, REPOSITORY)
    assert read_small(target, config, 100) == b"{}"
    assert mirror.seen("GET", "blobs")


def test_a_manifest_that_breaks_off_is_asked_for_again(
    registry: FakeRegistry, session: RegistrySession
) -> None:
    registry.add(REPOSITORY, "v1", b"{}")
    registry.fault(REPOSITORY, faults.on("manifests", "GET", faults.cut(10), times=1))
    pull(session, registry)
    assert len(registry.seen("GET", "manifests")) == 2

"""What every target promises (mrpack/content/ports.py), asked of every target there is."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import oras.provider
import pytest

from mrpack.content.carrying import copy_referrers
from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.content.ports import Referring, Target
from mrpack.content.progress import Event, Finished, Outcome
from mrpack.digest import BUFFER_SIZE, ByteSource, BytesSource, Digest
from mrpack.distribution import serving
from mrpack.errors import IntegrityError, MrpackError, NotFound, RegistryUnavailable
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index, Manifest
from mrpack.registry import RegistrySession, RegistrySettings, RegistryTarget
from mrpack.registry.oras_target import OrasTarget
from mrpack.registry.retry import RetryPolicy
from mrpack.store.archive import OciArchive
from mrpack.store.layout import OciLayout
from mrpack.store.store import Store
from tests.fakes.registry import FakeRegistry
from tests.reading import Lister, read, read_raw

# One entry a target: a context manager over an empty one, given a folder of its own.
# A new target earns its place by one line here.
TargetFactory = Callable[[Path], AbstractContextManager[Target]]


@contextlib.contextmanager
def in_memory(_folder: Path) -> Iterator[Target]:
    yield MemoryTarget()


@contextlib.contextmanager
def in_a_registry(_folder: Path) -> Iterator[Target]:
    settings = RegistrySettings(retry=RetryPolicy(attempts=3, first_delay_s=0.001))
    with FakeRegistry() as registry, RegistrySession(settings) as session:
        yield RegistryTarget(session, registry.address, "team/model")


@contextlib.contextmanager
def in_a_layout(folder: Path) -> Iterator[Target]:
    yield OciLayout(folder / "layout")


@contextlib.contextmanager
def in_the_store(folder: Path) -> Iterator[Target]:
    with Store(folder / "home").operation() as layout:
        yield layout


@contextlib.contextmanager
def in_our_own_registry(folder: Path) -> Iterator[Target]:
    with serving(OciLayout(folder / "served"), writable=True) as address, RegistrySession() as session:
        yield RegistryTarget(session, address, "team/model")


@contextlib.contextmanager
def by_an_oras_client(folder: Path) -> Iterator[Target]:
    with serving(OciLayout(folder / "served"), writable=True) as address:
        client = oras.provider.Registry(address, insecure=True)
        yield OrasTarget(client, f"{address}/team/model", policy=RetryPolicy(attempts=2, first_delay_s=0.001))
        client.session.close()


@contextlib.contextmanager
def in_an_archive(folder: Path) -> Iterator[Target]:
    yield OciArchive(folder / "archive.tar")


TARGETS: dict[str, TargetFactory] = {
    "archive": in_an_archive,
    "oras client": by_an_oras_client,
    "registry serve": in_our_own_registry,
    "memory": in_memory,
    "layout": in_a_layout,
    "store": in_the_store,
    "registry": in_a_registry,
}


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    with TARGETS[request.param](tmp_path) as opened:
        yield opened


class Watched:
    """A source that counts how often it was opened and closed."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.opened = 0
        self.closed = 0

    def open_at(self, offset: int) -> ByteSource:
        self.opened += 1
        return _WatchedStream(self, BytesSource(self.content[offset:]))


class _WatchedStream:
    def __init__(self, owner: Watched, inner: ByteSource) -> None:
        self._owner = owner
        self._inner = inner

    def readinto(self, buffer: memoryview, /) -> int:
        return self._inner.readinto(buffer)

    def close(self) -> None:
        self._owner.closed += 1


class Breaking:
    """A source that breaks once, after `position` bytes, and is whole when it is opened again."""

    def __init__(self, content: bytes, position: int, breaks: int) -> None:
        self.content = content
        self.position = position
        self.left = breaks

    def open_at(self, offset: int) -> ByteSource:
        return _BreakingStream(self, offset)


class _BreakingStream:
    def __init__(self, owner: Breaking, offset: int) -> None:
        self._owner = owner
        self._offset = offset

    def readinto(self, buffer: memoryview, /) -> int:
        stop = len(self._owner.content)
        if self._owner.left and self._offset >= self._owner.position:
            self._owner.left -= 1
            raise RegistryUnavailable("the source broke")
        if self._owner.left:
            stop = self._owner.position
        part = self._owner.content[self._offset : min(stop, self._offset + len(buffer))]
        buffer[: len(part)] = part
        self._offset += len(part)
        return len(part)

    def close(self) -> None:
        pass


def blob_of(content: bytes) -> Descriptor:
    return Descriptor(media_type="application/octet-stream", digest=Digest.of(content), size=len(content))


def push(target: Target, content: bytes) -> Descriptor:
    blob = blob_of(content)
    target.push(blob, lambda offset: BytesSource(content[offset:]))
    return blob


def push_artifact(target: Target, *blobs: bytes, ref: str | None = None) -> Manifest:
    config, *layers = [push(target, blob) for blob in blobs]
    manifest = Manifest.build(config=config, layers=layers)
    target.push_manifest(manifest.descriptor, manifest.raw, ref)
    return manifest


@pytest.mark.parametrize("size", [0, 1, BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE * 3 + 7])
def test_a_pushed_blob_comes_back_byte_for_byte(target: Target, size: int) -> None:
    content = os.urandom(size)
    blob = push(target, content)
    assert target.exists(blob)
    assert read(target, blob) == content


def test_a_blob_that_was_not_pushed_does_not_exist(target: Target) -> None:
    push(target, b"another")
    assert not target.exists(blob_of(b"absent"))


def test_fetching_an_absent_blob_is_not_found(target: Target) -> None:
    with pytest.raises(NotFound):
        target.fetch(blob_of(b"absent"))


def test_fetching_an_absent_manifest_is_not_found(target: Target) -> None:
    absent = Manifest.build(config=blob_of(b"{}"), layers=[]).descriptor
    with pytest.raises(NotFound):
        target.fetch(absent)
    assert not target.exists(absent)


@pytest.mark.parametrize("offset", [0, 1, 4_999, 5_000])
def test_a_fetch_begins_at_the_offset(target: Target, offset: int) -> None:
    content = os.urandom(5_000)
    blob = push(target, content)
    assert read_raw(target.fetch(blob, offset)) == content[offset:]


def test_a_manifest_is_fetched_like_a_blob(target: Target) -> None:
    manifest = push_artifact(target, b"{}", b"weights", ref="v1")
    assert read(target, manifest.descriptor) == manifest.raw
    assert read_raw(target.fetch(manifest.descriptor, 10)) == manifest.raw[10:]


def test_pushing_again_changes_nothing(target: Target) -> None:
    blob = push(target, b"content")
    assert push(target, b"content") == blob
    assert read(target, blob) == b"content"


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(b"wrong content", id="other bytes"),
        pytest.param(b"right conten", id="too short"),
        pytest.param(b"right content and more", id="too long"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_source_with_other_bytes_is_refused_and_leaves_nothing(target: Target, given: bytes) -> None:
    blob = blob_of(b"right content")
    source = Watched(given)
    with pytest.raises(IntegrityError):
        target.push(blob, source.open_at)
    assert not target.exists(blob)
    assert source.opened == source.closed > 0


def test_the_pusher_closes_what_it_opened(target: Target) -> None:
    source = Watched(os.urandom(BUFFER_SIZE + 1))
    target.push(blob_of(source.content), source.open_at)
    assert source.opened == source.closed > 0


@pytest.mark.parametrize("position", [0, 1, BUFFER_SIZE + 5])
def test_a_source_that_breaks_leaves_all_or_nothing(target: Target, position: int) -> None:
    source = Breaking(os.urandom(2 * BUFFER_SIZE), position, breaks=1)
    blob = blob_of(source.content)
    try:
        target.push(blob, source.open_at)
    except RegistryUnavailable:
        assert not target.exists(blob)
        target.push(blob, source.open_at)
    assert read(target, blob) == source.content


def test_a_source_that_keeps_breaking_fails_the_push(target: Target) -> None:
    source = Breaking(bytes(1_000), 500, breaks=1_000)
    with pytest.raises(MrpackError):
        target.push(blob_of(source.content), source.open_at)
    assert not target.exists(blob_of(source.content))


def test_an_unknown_reference_is_not_found(target: Target) -> None:
    push_artifact(target, b"{}", ref="v1")
    with pytest.raises(NotFound):
        target.resolve("v2")


def test_a_reference_resolves_to_what_the_bytes_say(target: Target) -> None:
    manifest = push_artifact(target, b"{}", b"weights", ref="v1")
    found = target.resolve("v1")
    assert (found.digest, found.size) == (Digest.of(manifest.raw), len(manifest.raw))
    assert found.media_type == manifest.media_type
    assert target.exists(found)


def test_a_manifest_without_a_reference_is_found_by_its_digest(target: Target) -> None:
    manifest = push_artifact(target, b"{}")
    assert target.resolve(str(manifest.descriptor.digest)).digest == manifest.descriptor.digest
    if isinstance(target, Lister):
        push_artifact(target, b"{}", b"other", ref="only")
        assert target.tags() == ["only"]


def test_a_reference_moves_to_the_newest_manifest(target: Target) -> None:
    first = push_artifact(target, b"{}", b"1", ref="v1")
    second = push_artifact(target, b"{}", b"2", ref="v1")
    assert target.resolve("v1").digest == second.descriptor.digest
    assert target.exists(first.descriptor)


def test_a_tag_is_one_more_name(target: Target) -> None:
    manifest = push_artifact(target, b"{}", ref="v1")
    target.tag(manifest.descriptor, "latest")
    target.tag(manifest.descriptor, "latest")
    assert target.resolve("latest") == target.resolve("v1")


def test_an_absent_manifest_is_not_tagged(target: Target) -> None:
    absent = Manifest.build(config=blob_of(b"{}"), layers=[]).descriptor
    with pytest.raises(NotFound):
        target.tag(absent, "v1")
    with pytest.raises(NotFound):
        target.resolve("v1")


def test_tags_are_listed_sorted(target: Target) -> None:
    if not isinstance(target, Lister):
        pytest.skip("lists nothing")
    for ref in ("v2", "v10", "latest", "a", "b"):
        push_artifact(target, b"{}", ref=ref)
    assert target.tags() == ["a", "b", "latest", "v10", "v2"]


def test_a_copy_brings_everything_and_a_second_one_moves_nothing(target: Target) -> None:
    origin = MemoryTarget()
    manifest = push_artifact(origin, b"{}", os.urandom(100_000), b"license", ref="v1")
    events: list[Event] = []
    copy(origin, "v1", target, "v1")
    assert copy(origin, "v1", target, "again", report=events.append) == manifest.descriptor
    assert target.resolve("again").digest == manifest.descriptor.digest
    outcomes = [event.outcome for event in events if isinstance(event, Finished)]
    assert outcomes == [Outcome.EXISTING] * 3

    back = MemoryTarget()
    copy(target, "v1", back, "v1")
    for blob in manifest.blobs:
        assert read(back, blob) == read(origin, blob)


def test_an_index_travels_with_its_manifests(target: Target) -> None:
    origin = MemoryTarget()
    manifests = [push_artifact(origin, b"{}", weights) for weights in (b"a", b"b")]
    index = Index.build([manifest.descriptor for manifest in manifests])
    origin.push_manifest(index.descriptor, index.raw, "all")
    copy(origin, "all", target, "all")
    assert target.resolve("all").digest == index.descriptor.digest
    for manifest in manifests:
        assert read(target, manifest.descriptor) == manifest.raw


def attach(target: Target, subject: Manifest, artifact_type: str, content: bytes = b"report") -> Descriptor:
    config, layer = push(target, b"{}"), push(target, content)
    manifest = Manifest.build(
        config=config, layers=[layer], artifact_type=artifact_type, subject=subject.descriptor.plain()
    )
    target.push_manifest(manifest.descriptor, manifest.raw, None)
    return manifest.descriptor


def test_what_belongs_to_a_manifest_is_found(target: Target) -> None:
    assert isinstance(target, Referring)
    subject = push_artifact(target, b"{}", b"weights", ref="v1")
    other = push_artifact(target, b"{}", b"other", ref="v2")
    assert target.referrers(subject.descriptor) == []
    signature = attach(target, subject, "example/signature")
    report = attach(target, subject, "example/report")
    attach(target, other, "example/report")
    found = target.referrers(subject.descriptor)
    assert [item.digest for item in found] == sorted([signature.digest, report.digest])
    assert {item.artifact_type for item in found} == {"example/signature", "example/report"}
    (only,) = target.referrers(subject.descriptor, "example/report")
    assert only.digest == report.digest
    assert target.resolve(str(only.digest)).digest == report.digest


def test_what_belongs_to_a_manifest_may_come_before_it(target: Target) -> None:
    assert isinstance(target, Referring)
    origin = MemoryTarget()
    subject = push_artifact(origin, b"{}", b"weights", ref="v1")
    signature = attach(origin, subject, "example/signature", b"signature")
    countersigned = attach(
        origin, Manifest.parse(read(origin, signature)), "example/signature", b"countersignature"
    )
    carried = copy_referrers(origin, subject.descriptor, target, jobs=1)
    assert [item.digest for item in carried] == [signature.digest, countersigned.digest]
    copy(origin, "v1", target, "v1")
    (found,) = target.referrers(subject.descriptor)
    assert found.digest == signature.digest
    (found,) = target.referrers(signature)
    assert found.digest == countersigned.digest


def test_threads_may_push_and_read_the_same_content(target: Target) -> None:
    contents = [bytes([number]) * 50_000 for number in range(3)]
    start = threading.Barrier(6)

    def work(number: int) -> bytes:
        start.wait()
        content = contents[number % 3]
        return read(target, push(target, content))

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(work, range(6)))
    assert results == [contents[number % 3] for number in range(6)]

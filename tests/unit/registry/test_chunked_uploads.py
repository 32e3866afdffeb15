"""Uploads in chunks: after a request was too large, or broke, with registries that count in their own way."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.content.progress import Event, Finished, Outcome
from mrpack.digest import ByteSource, BytesSource, Digest
from mrpack.errors import MrpackError, RegistryUnavailable, Unsupported
from mrpack.oci.manifest import Manifest
from mrpack.registry import RegistrySession, RegistryTarget
from mrpack.store.layout import OciLayout
from tests.fakes import registry_faults as faults
from tests.fakes.registry import FakeRegistry, Fault, Reply, Request, error_reply
from tests.fakes.registry_scene import REPOSITORY, describe, failure

KIB = 1024
CONTENT = random.Random(3).randbytes(12 * KIB + 5)
BLOB = describe(CONTENT)
# Small sizes stand for large ones.
SIZES = (64 * KIB, 16 * KIB, 5 * KIB)
# As many as it takes of the smallest.
CHUNKS = 3


def limited(registry: FakeRegistry, then: Fault, limit: int = 5 * KIB) -> Fault:
    """No request may be larger than `limit`; those that are small enough meet `then`."""

    def fault(request: Request, reply: Reply) -> Reply:
        if len(request.body) > limit:
            registry.blobs.pop((REPOSITORY, str(BLOB.digest)), None)
            return error_reply(413, "SIZE_LIMIT")
        return then(request, reply)

    return fault


def honest(_request: Request, reply: Reply) -> Reply:
    return reply


def push(session: RegistrySession, registry: FakeRegistry) -> None:
    target = RegistryTarget(session, registry.address, REPOSITORY, chunks=SIZES)
    target.push(BLOB, lambda offset: BytesSource(CONTENT[offset:]))
    assert registry.blobs[REPOSITORY, str(BLOB.digest)] == CONTENT


def patched(registry: FakeRegistry) -> list[int]:
    return [len(request.body) for request in registry.seen("PATCH")]


def test_what_is_too_large_for_one_request_goes_in_chunks(
    registry: FakeRegistry, session: RegistrySession
) -> None:
    registry.fault(REPOSITORY, limited(registry, honest))
    push(session, registry)
    assert patched(registry) == [5 * KIB, 5 * KIB, 2 * KIB + 5]
    ranges = [request.headers["Content-Range"] for request in registry.seen("PATCH")]
    assert ranges == [f"0-{5 * KIB - 1}", f"{5 * KIB}-{10 * KIB - 1}", f"{10 * KIB}-{12 * KIB + 4}"]


def test_a_limit_below_every_chunk_is_told(registry: FakeRegistry, session: RegistrySession) -> None:
    registry.fault(REPOSITORY, limited(registry, honest, limit=KIB))
    assert isinstance(failure(lambda: push(session, registry)), Unsupported)


def test_a_least_chunk_length_is_kept(registry: FakeRegistry, session: RegistrySession) -> None:
    least = faults.on("blobs/uploads", "POST", faults.header("OCI-Chunk-Min-Length", str(6 * KIB)))
    registry.fault(REPOSITORY, limited(registry, least, limit=6 * KIB))
    push(session, registry)
    assert patched(registry) == [6 * KIB, 6 * KIB, 5]


@pytest.mark.parametrize("length", ["9" * 18, "9" * 30, "-1", "many", ""])
def test_a_least_chunk_length_that_means_everything_or_nothing_is_no_harm(
    registry: FakeRegistry, session: RegistrySession, length: str
) -> None:
    registry.fault(
        REPOSITORY, faults.on("blobs/uploads", "POST", faults.header("OCI-Chunk-Min-Length", length))
    )
    push(session, registry)
    assert patched(registry) == []


def moving(*, with_state: bool) -> Fault:
    """Every answer has a new Location, and only the newest is good."""
    numbers = itertools.count(1)
    newest: dict[str, str] = {}

    def fault(request: Request, reply: Reply) -> Reply:
        if request.kind != "blobs/uploads":
            return reply
        if request.name and request.target.partition("&digest")[0].partition("?digest")[0] != newest["url"]:
            return error_reply(404, "BLOB_UPLOAD_INVALID")
        if "Location" in reply.headers:
            path = reply.headers["Location"].partition("?")[0]
            newest["url"] = f"{path}?_state={next(numbers)}" if with_state else path
            return reply.with_header("Location", newest["url"])
        return reply

    return fault


@pytest.mark.parametrize("with_state", [True, False])
def test_the_newest_location_is_used(
    registry: FakeRegistry, session: RegistrySession, with_state: bool
) -> None:
    registry.fault(REPOSITORY, limited(registry, moving(with_state=with_state)))
    push(session, registry)
    assert len(patched(registry)) == CHUNKS


PATCHES: dict[str, tuple[Fault, int]] = {
    # The chunk is here, its answer is not: the registry is asked, and nothing is sent again.
    "answer lost": (faults.on("blobs/uploads", "PATCH", faults.refuse(502), times=1), CHUNKS),
    "connection cut": (faults.on("blobs/uploads", "PATCH", faults.cut(0, "reset"), times=1), CHUNKS),
    "416 though it came": (faults.on("blobs/uploads", "PATCH", faults.refuse(416), times=1), CHUNKS),
    "upload lost": (
        faults.on("blobs/uploads", "PATCH", faults.refuse(404, "BLOB_UPLOAD_UNKNOWN"), times=1),
        CHUNKS + 1,
    ),
    "count nonsense": (
        faults.on("blobs/uploads", "PATCH", faults.header("Range", "0-7"), times=2),
        CHUNKS + 1,
    ),
    "no count": (faults.on("blobs/uploads", "PATCH", faults.without_header("Range")), CHUNKS),
    "no location": (faults.on("blobs/uploads", "PATCH", faults.without_header("Location")), CHUNKS),
    "429": (faults.on("blobs/uploads", "PATCH", faults.refuse(429, Retry_After="0"), times=1), CHUNKS),
}


@pytest.mark.parametrize("name", PATCHES)
def test_a_chunk_that_fails_is_mended(registry: FakeRegistry, session: RegistrySession, name: str) -> None:
    fault, at_least = PATCHES[name]
    registry.fault(REPOSITORY, limited(registry, fault))
    push(session, registry)
    assert at_least <= len(patched(registry)) <= at_least + CHUNKS


FATAL: dict[str, Fault] = {
    "lost for ever": faults.on("blobs/uploads", "PATCH", faults.refuse(404, "BLOB_UPLOAD_UNKNOWN")),
    "lost at the end for ever": faults.on("blobs/uploads", "PUT", faults.refuse(404, "BLOB_UPLOAD_UNKNOWN")),
    "nothing ever counts": faults.on("blobs/uploads", "PATCH", faults.header("Range", "0-0")),
    "status says less each time": faults.on("blobs/uploads", "GET", faults.header("Range", "0-1")),
}


@pytest.mark.parametrize("name", FATAL)
def test_without_progress_a_push_ends(registry: FakeRegistry, session: RegistrySession, name: str) -> None:
    broken = faults.on("blobs/uploads", "PATCH", faults.refuse(502))

    def fault(request: Request, reply: Reply) -> Reply:
        if name.startswith("status"):
            reply = broken(request, reply)
        elif request.method == "PUT" and name.startswith("lost at"):
            registry.blobs.pop((REPOSITORY, str(BLOB.digest)), None)
        return FATAL[name](request, reply)

    registry.fault(REPOSITORY, limited(registry, fault))
    assert isinstance(failure(lambda: push(session, registry)), RegistryUnavailable)
    assert len(patched(registry)) < 40


def test_a_stream_is_verified_across_its_chunks(
    registry: FakeRegistry, stranger: FakeRegistry, session: RegistrySession
) -> None:
    """A wrong source never becomes a blob, and a lost chunk does not confuse the hash of a right one."""
    registry.fault(
        REPOSITORY, limited(registry, faults.on("blobs/uploads", "PATCH", faults.refuse(502), times=1))
    )
    manifest = stranger.add(REPOSITORY, "v1", b"{}", CONTENT)
    source = RegistryTarget(session, stranger.address, REPOSITORY)
    target = RegistryTarget(session, registry.address, REPOSITORY, chunks=SIZES)
    copy(source, "v1", target, "v1", jobs=1)
    assert registry.blobs[REPOSITORY, str(BLOB.digest)] == CONTENT
    assert target.resolve("v1").digest == manifest.descriptor.digest


def wrong_source(offset: int) -> ByteSource:
    return BytesSource((CONTENT[:-1] + b"?")[offset:])


def test_a_wrong_stream_never_becomes_whole(registry: FakeRegistry, session: RegistrySession) -> None:
    registry.fault(REPOSITORY, limited(registry, honest))
    target = RegistryTarget(session, registry.address, REPOSITORY, chunks=SIZES)
    if CONTENT.endswith(b"?"):
        pytest.fail("choose another seed")
    action: Callable[[], None] = lambda: target.push(BLOB, wrong_source)  # noqa: E731
    assert isinstance(failure(action), MrpackError)
    assert not registry.blobs
    assert sum(patched(registry)) < len(CONTENT)


def test_a_small_blob_that_broke_is_sent_whole_again(
    registry: FakeRegistry, session: RegistrySession
) -> None:
    registry.fault(REPOSITORY, faults.on("blobs/uploads", "PUT", faults.cut(0, "reset"), times=1))
    memory = MemoryTarget()
    small = memory.add("a/b", b"small")
    lost = replace(small, digest=Digest.of(b"small"))
    RegistryTarget(session, registry.address, REPOSITORY, chunks=SIZES).push(
        lost, lambda o: BytesSource(b"small"[o:])
    )
    assert patched(registry) == []


def test_what_another_repository_of_the_registry_has_by_our_names_is_mounted(
    registry: FakeRegistry, session: RegistrySession, tmp_path: Path
) -> None:
    layout = OciLayout(tmp_path)
    memory = MemoryTarget()
    blobs = [memory.add("a/b", content) for content in (b"{}", CONTENT)]
    manifest = Manifest.build(config=blobs[0], layers=blobs[1:])
    memory.push_manifest(manifest.descriptor, manifest.raw, "v1")
    copy(memory, "v1", layout, f"{registry.address}/team/first:v1")
    digest = str(manifest.descriptor.digest)

    def push_to(repository: str) -> list[Outcome]:
        events: list[Event] = []
        target = RegistryTarget(session, registry.address, repository)
        copy(layout, digest, target, "v1", report=events.append)
        return [event.outcome for event in events if isinstance(event, Finished)]

    # It is named after a repository, and was never there.
    assert push_to("team/second") == [Outcome.TRANSFERRED] * 2
    assert len(registry.seen("POST", "blobs/uploads")) == 2
    assert push_to("team/first") == [Outcome.TRANSFERRED] * 2
    assert push_to("team/third") == [Outcome.MOUNTED] * 2

"""Large blobs in parts, from registries that give them badly. Small sizes stand for large ones."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mrpack.content.width import Width
from mrpack.digest import ByteSource, Digest, Verifier
from mrpack.errors import IntegrityError, NotFound, RegistryUnavailable
from mrpack.oci.descriptor import Descriptor
from mrpack.registry import RegistrySession, RegistryTarget
from mrpack.store.blobs import BlobFolder
from mrpack.store.receiving import Receiving, Sizes
from mrpack.store.spans import Span, SpanList
from tests.fakes import registry_faults as faults
from tests.fakes.registry import FakeRegistry, Fault, Reply, Request, error_reply
from tests.fakes.registry_scene import REPOSITORY, describe

KIB = 1024
CONTENT = random.Random(7).randbytes(4096 * KIB + 17)
BLOB = describe(CONTENT)
SIZES = Sizes(
    threads_from=KIB,
    parts_from=KIB,
    least_part=256 * KIB,
    most_part=512 * KIB,
    step=32 * KIB,
    least_half=64 * KIB,
    width=Width(connections=3, settled=True),
)


@dataclass
class Parts:
    """An opener over a registry, as `copy` has one; remembers what was asked for."""

    target: RegistryTarget
    blob: Descriptor = BLOB
    opened: list[tuple[int, int]] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)
    patient: list[bool] = field(default_factory=list)

    def __call__(self, offset: int) -> ByteSource:
        self.whole.append(offset)
        return self.target.fetch(self.blob, offset)

    def open_part(self, start: int, stop: int, *, missing: int, patient: bool) -> ByteSource:
        assert 0 < missing <= self.blob.size
        self.opened.append((start, stop))
        self.patient.append(patient)
        return self.target.fetch_range(self.blob, start, stop, patient=patient)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobFolder:
    return BlobFolder(tmp_path / "layout", SIZES)


@pytest.fixture
def parts(registry: FakeRegistry, session: RegistrySession) -> Iterator[Parts]:
    registry.blobs[REPOSITORY, str(BLOB.digest)] = CONTENT
    return Parts(RegistryTarget(session, registry.address, REPOSITORY))


def receive(blobs: BlobFolder, parts: Parts) -> None:
    blobs.add(parts.blob.digest, parts.blob.size, parts)
    assert blobs.path(parts.blob.digest).read_bytes() == CONTENT
    assert list(blobs.ingest_folder.iterdir()) == []


def test_parts_on_several_connections_make_the_blob(registry: FakeRegistry, parts: Parts, blobs) -> None:
    receive(blobs, parts)
    assert parts.whole == []
    assert sum(stop - start for start, stop in parts.opened) >= len(CONTENT)
    assert len(registry.seen("GET", "blobs")) == len(parts.opened)


def test_connections_are_added_while_that_helps(parts: Parts, tmp_path: Path) -> None:
    """Rates measured from one write to the next are noise; whatever they lead to, all arrives."""
    receive(BlobFolder(tmp_path / "layout", replace(SIZES, width=Width(), window_s=0.0)), parts)
    assert parts.whole == []


def second_range(how: Fault) -> Fault:
    """`how`, for every part but those from the first byte on."""
    return faults.on_blobs(
        lambda request, reply: (
            how(request, reply)
            if reply.status == 206 and "bytes=0-" not in request.headers["Range"]
            else reply
        )
    )


def other_bytes(_request: Request, reply: Reply) -> Reply:
    """The registry has another version by now, and says so by its ETag alone."""
    assert isinstance(reply.body, bytes)
    return replace(reply, body=bytes(len(reply.body))).with_header("ETag", '"another"')


def content_range(text: str) -> Fault:
    return faults.header("Content-Range", text)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(None, id="ranges are ignored"),
        pytest.param(second_range(content_range("bytes 0-99/*")), id="another range"),
        pytest.param(second_range(content_range("bytes what/ever")), id="no range"),
        pytest.param(second_range(content_range(f"bytes 1-2/{len(CONTENT) + 1}")), id="another size"),
        pytest.param(second_range(faults.answer(Reply(416))), id="416"),
        pytest.param(second_range(other_bytes), id="other bytes, another ETag"),
        pytest.param(second_range(faults.flip_last_byte), id="a flipped byte"),
    ],
)
def test_a_registry_that_cannot_give_parts_is_asked_for_the_whole(
    registry: FakeRegistry, parts: Parts, blobs: BlobFolder, fault: Fault | None
) -> None:
    registry.fault(REPOSITORY, fault or faults.on_blobs(faults.ignore_range(registry.blobs)))
    receive(blobs, parts)
    assert parts.whole


def test_wrong_bytes_for_ever_are_refused_and_leave_nothing(
    registry: FakeRegistry, parts: Parts, blobs: BlobFolder
) -> None:
    registry.fault(REPOSITORY, faults.on_blobs(faults.flip_last_byte))
    with pytest.raises(IntegrityError):
        blobs.add(BLOB.digest, BLOB.size, parts)
    assert list(blobs.digests()) == []
    assert list(blobs.ingest_folder.iterdir()) == []
    assert parts.whole == [0]


def test_with_one_connection_allowed_one_is_used(
    registry: FakeRegistry, parts: Parts, blobs: BlobFolder
) -> None:
    """A second one at the same time gets 429."""
    busy = threading.Lock()
    refused: list[str] = []

    def one_at_a_time(request: Request, reply: Reply) -> Reply:
        if not busy.acquire(blocking=False):
            refused.append(request.target)
            return error_reply(429, "TOOMANYREQUESTS")
        assert isinstance(reply.body, bytes)
        return replace(reply, body=_releasing(reply.body, busy), declared=len(reply.body))

    registry.fault(REPOSITORY, faults.on_blobs(one_at_a_time))
    receive(blobs, parts)
    assert parts.whole == []


def _releasing(body: bytes, busy: threading.Lock) -> Iterator[bytes]:
    try:
        for start in range(0, len(body) - 1, 64 * KIB):
            yield body[start : min(start + 64 * KIB, len(body) - 1)]
    finally:
        busy.release()
    yield body[-1:]


def test_a_slow_connection_is_helped_by_the_others(
    registry: FakeRegistry, parts: Parts, blobs: BlobFolder
) -> None:
    """The first part trickles until all the rest is here; what is left of it is divided, not waited for."""
    others = threading.Event()
    lock = threading.Lock()
    served = 0

    def slow(body: bytes) -> Iterator[bytes]:
        sent = 32 * KIB
        yield body[:sent]
        while not others.wait(0.02) and sent < len(body):
            yield body[sent : sent + 1]
            sent += 1
        yield body[sent:]

    def fault(request: Request, reply: Reply) -> Reply:
        nonlocal served
        assert isinstance(reply.body, bytes)
        if "bytes=0-" in request.headers["Range"]:
            return replace(reply, body=slow(reply.body), declared=len(reply.body))
        with lock:
            served += len(reply.body)
            if served >= len(CONTENT) - 256 * KIB:
                others.set()
        return reply

    registry.fault(REPOSITORY, faults.on_blobs(fault))
    receive(blobs, parts)
    assert parts.whole == []


@pytest.mark.parametrize("seed", range(5))
def test_what_a_killed_pull_has_is_not_fetched_again(
    registry: FakeRegistry, parts: Parts, blobs: BlobFolder, seed: int
) -> None:
    """Whatever is in the list of the part file, in holes or not."""
    chance = random.Random(seed)
    edges = sorted(chance.sample(range(len(CONTENT)), 8))
    extents = list(zip(edges[::2], edges[1::2], strict=True))
    blobs.ingest_folder.mkdir(parents=True)
    path = blobs.ingest_folder / f"{BLOB.digest.hex}.0.part"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    spans = SpanList(handle, len(CONTENT))
    spans.begin(0)
    for slot, (start, stop) in enumerate(extents, 1):
        os.pwrite(handle, CONTENT[start:stop], start)
        spans.write(Span(start, stop, stop, slot))
    os.close(handle)
    receive(blobs, parts)
    asked = {byte // KIB for start, stop in parts.opened for byte in range(start, stop, KIB)}
    kept = {byte // KIB for start, stop in extents for byte in range(start + 2 * KIB, stop - 2 * KIB, KIB)}
    assert not asked & kept
    assert parts.whole == []


def test_a_list_that_lies_costs_one_download_more(
    registry: FakeRegistry, parts: Parts, blobs: BlobFolder
) -> None:
    blobs.ingest_folder.mkdir(parents=True)
    handle = os.open(blobs.ingest_folder / f"{BLOB.digest.hex}.0.part", os.O_RDWR | os.O_CREAT)
    spans = SpanList(handle, len(CONTENT))
    spans.begin(0)
    spans.write(Span(0, len(CONTENT), 2048 * KIB, 1))
    os.close(handle)
    receive(blobs, parts)
    assert parts.whole == [0]


def test_a_broken_connection_among_several_loses_nothing(
    registry: FakeRegistry, parts: Parts, blobs: BlobFolder
) -> None:
    registry.fault(REPOSITORY, faults.on_blobs(faults.cut(100 * KIB, "reset"), times=5))
    receive(blobs, parts)
    assert parts.whole == []


def test_parts_that_are_refused_for_good_fail_the_pull_and_keep_what_came(
    registry: FakeRegistry, parts: Parts, blobs: BlobFolder
) -> None:
    registry.fault(REPOSITORY, second_range(faults.refuse(500)))
    with pytest.raises(RegistryUnavailable):
        blobs.add(BLOB.digest, BLOB.size, parts)
    registry.fault(REPOSITORY, lambda _request, reply: reply)
    parts.opened.clear()
    receive(blobs, parts)
    assert parts.opened
    assert all(start >= 256 * KIB for start, _ in parts.opened)


def test_a_blob_that_is_gone_is_said_to_be(parts: Parts, blobs: BlobFolder) -> None:
    parts.blob = replace(BLOB, digest=Digest.of(b"gone"))
    with pytest.raises(NotFound):
        blobs.add(parts.blob.digest, parts.blob.size, parts)
    assert list(blobs.digests()) == []
    assert list(blobs.ingest_folder.iterdir()) == []


class Counting(Verifier):
    """Knows how many bytes were hashed, were they counted or not."""

    hashed = 0

    def update(self, chunk: bytes | memoryview) -> None:
        self.hashed += len(chunk)
        super().update(chunk)


@pytest.mark.parametrize("in_parts", [True, False])
def test_every_byte_is_hashed_once(parts: Parts, tmp_path: Path, in_parts: bool) -> None:
    handle = os.open(tmp_path / "part", os.O_RDWR | os.O_CREAT)
    verifier = Counting(BLOB.digest, BLOB.size)
    journal = SpanList(handle, BLOB.size) if in_parts else None
    if journal is not None:
        journal.begin(0)
    try:
        Receiving(handle, [Span(0, BLOB.size, 0, 1)], verifier, BLOB.size, parts, journal, SIZES).run()
    finally:
        os.close(handle)
    assert verifier.hashed == BLOB.size
    assert (len(parts.opened) > 1) == in_parts

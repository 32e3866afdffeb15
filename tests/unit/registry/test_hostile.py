"""A hostile registry: every bad blob, document, redirect and service answer ends in its stated result."""

from __future__ import annotations

import contextlib
import itertools
import json

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.digest import Digest
from mrpack.errors import (
    AccessDenied,
    IntegrityError,
    InvalidArtifact,
    MrpackError,
    NotFound,
    RegistryUnavailable,
)
from mrpack.oci.manifest import Index
from mrpack.oci.mediatypes import OCI_INDEX, OCI_MANIFEST
from mrpack.registry import (
    RegistrySession,
    RegistryTarget,
)
from mrpack.registry.retry import Clock
from tests.fakes import registry_faults as faults
from tests.fakes.registry import FakeRegistry, Fault, Reply, Request, json_reply
from tests.fakes.registry_scene import HASTY, PERSISTENT, REPOSITORY, SETTINGS, WEIGHTS, failure, pull

CONTENT: dict[str, tuple[Fault, type[MrpackError] | None]] = {
    "other bytes": (faults.body(bytes(len(WEIGHTS))), IntegrityError),
    "cut with a length": (faults.cut(1_000), RegistryUnavailable),
    "cut at the first byte": (faults.cut(0), RegistryUnavailable),
    "reset": (faults.cut(1_000, "reset"), RegistryUnavailable),
    "cut in chunks": (faults.cut_chunked(1_000), RegistryUnavailable),
    "cut without a length": (faults.cut_without_length(1_000), RegistryUnavailable),
    "chunks are as good as a length": (faults.chunked, None),
    "longer, declared": (faults.body(WEIGHTS + b"x"), IntegrityError),
    "longer, in chunks": (
        lambda request, reply: faults.chunked(request, faults.body(WEIGHTS + b"x")(request, reply)),
        IntegrityError,
    ),
    "shorter, declared": (faults.body(WEIGHTS[:-1]), IntegrityError),
    "shorter, in chunks": (
        lambda request, reply: faults.chunked(request, faults.body(WEIGHTS[:-1])(request, reply)),
        IntegrityError,
    ),
    "empty": (faults.body(b""), IntegrityError),
    "endless": (faults.endless, IntegrityError),
    "last byte flipped": (faults.flip_last_byte, IntegrityError),
    "length too small": (faults.declare(10), IntegrityError),
    "length too large": (faults.declare(len(WEIGHTS) + 1), IntegrityError),
    "encoded": (faults.header("Content-Encoding", "gzip"), IntegrityError),
    "identity is no encoding": (faults.header("Content-Encoding", "identity"), None),
    "stalled": (faults.cut(1_000, "stall"), RegistryUnavailable),
    "stalled at the first byte": (faults.cut(0, "stall"), RegistryUnavailable),
    "404": (faults.refuse(404, "BLOB_UNKNOWN"), NotFound),
    "403": (faults.refuse(403, "DENIED"), AccessDenied),
    "500 for ever": (faults.refuse(500), RegistryUnavailable),
    "416": (faults.refuse(416), RegistryUnavailable),
    "204": (faults.answer(Reply(204)), RegistryUnavailable),
    "206 without being asked": (
        faults.answer(Reply(206, {"Content-Range": f"bytes 0-9/{len(WEIGHTS)}"}, WEIGHTS[:10])),
        RegistryUnavailable,
    ),
}


@pytest.mark.parametrize("name", CONTENT)
def test_a_bad_blob_ends_in_its_error_and_is_not_kept(registry: FakeRegistry, name: str) -> None:
    fault, error = CONTENT[name]
    manifest = registry.add(REPOSITORY, "v1", b"{}", WEIGHTS)
    (weights,) = manifest.layers

    def on_weights(request: Request, reply: Reply) -> Reply:
        return fault(request, reply) if request.name == str(weights.digest) else reply

    registry.fault(REPOSITORY, on_weights)
    memory = MemoryTarget()

    def work() -> None:
        with RegistrySession(HASTY if name.startswith("stalled") else SETTINGS) as session:
            copy(RegistryTarget(session, registry.address, REPOSITORY), "v1", memory, "v1", jobs=1)

    if error is None:
        work()
        assert memory.exists(weights)
        return
    assert type(failure(work)).__mro__.count(error) == 1
    assert not memory.exists(weights)
    assert memory.tags() == []


def first_byte(request: Request) -> int:
    return int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])


@pytest.mark.parametrize("end", ["close", "reset", "stall"])
@pytest.mark.parametrize("keep", [0, 1, 65_536, 200_000])
def test_a_cut_body_is_continued_where_it_broke(registry: FakeRegistry, keep: int, end: str) -> None:
    manifest = registry.add(REPOSITORY, "v1", WEIGHTS)
    registry.fault(REPOSITORY, faults.on_blobs(faults.cut(keep, end), times=1))
    with RegistrySession(PERSISTENT if end == "stall" else SETTINGS) as session:
        assert pull(session, registry).exists(manifest.config)
    first, *others = registry.seen("GET", "blobs")
    assert "Range" not in first.headers
    assert all(first_byte(request) <= keep for request in others), "at most what was sent is skipped"
    if end != "stall":  # else an answer may be late too
        (second,) = others
        assert ("Range" in second.headers) == bool(keep)


def test_a_body_that_is_cut_again_and_again_arrives_as_long_as_it_moves(registry: FakeRegistry) -> None:
    manifest = registry.add(REPOSITORY, "v1", bytes(1_000_000))
    registry.fault(REPOSITORY, faults.on_blobs(faults.cut(100_000)))
    with RegistrySession(SETTINGS) as session:
        assert pull(session, registry).exists(manifest.config)
    assert len(registry.seen("GET", "blobs")) == 10


def test_a_registry_that_gives_a_byte_at_a_time_is_given_up(
    registry: FakeRegistry, session: RegistrySession
) -> None:
    registry.add(REPOSITORY, "v1", WEIGHTS)
    registry.fault(REPOSITORY, faults.on_blobs(faults.cut(1)))
    assert isinstance(failure(lambda: pull(session, registry)), RegistryUnavailable)
    assert len(registry.seen("GET", "blobs")) == 3


def test_a_registry_that_ignores_ranges_is_read_from_the_start(
    registry: FakeRegistry, session: RegistrySession
) -> None:
    manifest = registry.add(REPOSITORY, "v1", WEIGHTS)
    ignoring = faults.ignore_range(registry.blobs)
    cutting = faults.on_blobs(faults.cut(100_000), times=1)
    registry.fault(REPOSITORY, lambda request, reply: cutting(request, ignoring(request, reply)))
    assert pull(session, registry).exists(manifest.config)


@pytest.mark.parametrize(
    "content_range",
    ["", "bytes 0-9/307200", "bytes 99-307199/307200", "bytes 100-/307200", "chunks 100-307199/307200"],
)
def test_another_range_than_was_asked_for_is_refused(
    registry: FakeRegistry, session: RegistrySession, content_range: str
) -> None:
    manifest = registry.add(REPOSITORY, "v1", WEIGHTS)
    registry.fault(REPOSITORY, faults.on_blobs(faults.header("Content-Range", content_range)))
    target = RegistryTarget(session, registry.address, REPOSITORY)
    assert isinstance(failure(lambda: target.fetch(manifest.config, 100)), RegistryUnavailable)


def test_a_range_of_another_size_is_no_match(registry: FakeRegistry, session: RegistrySession) -> None:
    manifest = registry.add(REPOSITORY, "v1", WEIGHTS)
    registry.fault(REPOSITORY, faults.on_blobs(faults.header("Content-Range", "bytes 100-307199/999999")))
    target = RegistryTarget(session, registry.address, REPOSITORY)
    assert isinstance(failure(lambda: target.fetch(manifest.config, 100)), IntegrityError)


def raw_manifest(**changes: object) -> bytes:
    value = {"mediaType": "a/b", "size": 2, "digest": str(Digest.of(b"{}")), **changes}
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": value, "layers": []}).encode()


HEX = "a" * 64
DOCUMENTS: dict[str, tuple[bytes, str]] = {
    "path as digest": (raw_manifest(digest="sha256:../../../etc/passwd"), OCI_MANIFEST),
    "upper case": (raw_manifest(digest=f"sha256:{HEX.upper()}"), OCI_MANIFEST),
    "63 digits": (raw_manifest(digest=f"sha256:{HEX[1:]}"), OCI_MANIFEST),
    "65 digits": (raw_manifest(digest=f"sha256:{HEX}a"), OCI_MANIFEST),
    "line break": (raw_manifest(digest=f"sha256:{HEX}\n"), OCI_MANIFEST),
    "index as manifest": (Index.build([]).raw, OCI_MANIFEST),
    "manifest as index": (raw_manifest(), OCI_INDEX),
    "both": (b'{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}', OCI_MANIFEST),
    "schema 1": (
        b'{"schemaVersion":1,"fsLayers":[]}',
        "application/vnd.docker.distribution.manifest.v1+json",
    ),
    "no type": (raw_manifest(), ""),
    "html": (b"<html>", "text/html"),
    "5 MiB": (raw_manifest() + b" " * 5_242_880, OCI_MANIFEST),
    "deep": (b"[" * 100_000, OCI_MANIFEST),
    "deep objects": (b'{"a":' * 100_000, OCI_MANIFEST),
    "duplicate keys": (b'{"schemaVersion":2,"schemaVersion":2}', OCI_MANIFEST),
    "negative": (raw_manifest(size=-5), OCI_MANIFEST),
    "float": (raw_manifest(size=2.0), OCI_MANIFEST),
    "string": (raw_manifest(size="2"), OCI_MANIFEST),
    "2^64": (raw_manifest(size=2**64), OCI_MANIFEST),
    "bool": (raw_manifest(size=True), OCI_MANIFEST),
    "not UTF-8": (b'{"a":"\xff"}', OCI_MANIFEST),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_bad_document_is_an_invalid_artifact(
    registry: FakeRegistry, session: RegistrySession, name: str
) -> None:
    raw, media_type = DOCUMENTS[name]
    registry.manifests[REPOSITORY, "v1"] = (media_type, raw)
    assert isinstance(failure(lambda: pull(session, registry)), InvalidArtifact)
    assert not registry.seen(kind="blobs")


def test_a_document_that_does_not_end_is_dropped(registry: FakeRegistry, session: RegistrySession) -> None:
    registry.add(REPOSITORY, "v1", b"{}")
    registry.fault(REPOSITORY, faults.endless)
    assert isinstance(failure(lambda: pull(session, registry)), RegistryUnavailable)


def test_a_lying_digest_header_is_not_believed(registry: FakeRegistry, session: RegistrySession) -> None:
    manifest = registry.add(REPOSITORY, "v1", b"{}")
    registry.fault(REPOSITORY, faults.header("Docker-Content-Digest", f"sha256:{HEX}"))
    target = RegistryTarget(session, registry.address, REPOSITORY)
    assert target.resolve("v1").digest == manifest.descriptor.digest


def test_another_document_under_a_digest_is_refused(registry: FakeRegistry, session: RegistrySession) -> None:
    wanted = registry.add(REPOSITORY, "v1", b"{}").descriptor
    other = registry.add(REPOSITORY, "v2", b"{}", b"other")
    registry.manifests[REPOSITORY, str(wanted.digest)] = (OCI_MANIFEST, other.raw)
    target = RegistryTarget(session, registry.address, REPOSITORY)
    assert isinstance(failure(lambda: target.resolve(str(wanted.digest))), IntegrityError)
    assert isinstance(failure(lambda: target.fetch(wanted)), IntegrityError)


def test_a_tag_that_moves_in_the_middle_does_not_matter(
    registry: FakeRegistry, session: RegistrySession
) -> None:
    first = registry.add(REPOSITORY, "v1", b"{}", b"first")
    target = RegistryTarget(session, registry.address, REPOSITORY)
    descriptor = target.resolve("v1")
    registry.add(REPOSITORY, "v1", b"{}", b"second")
    buffer = memoryview(bytearray(10_000))
    assert bytes(buffer[: target.fetch(descriptor).readinto(buffer)]) == first.raw
    assert len(registry.requests) == 1


def test_a_layer_named_twice_is_fetched_once(registry: FakeRegistry, session: RegistrySession) -> None:
    registry.add(REPOSITORY, "v1", b"{}", WEIGHTS, WEIGHTS)
    pull(session, registry)
    assert len(registry.seen("GET", "blobs")) == 2


REDIRECTS: dict[str, tuple[str, bool]] = {
    "another port": ("{stranger}{target}", True),
    "loop": ("{registry}{target}", False),
    "chain": ("{target}x", False),
    "none": ("", False),
    "file": ("file:///etc/passwd", False),
    "user-info": ("http://user:password@127.0.0.1/x", False),
    "backslash": ("http:\\\\127.0.0.1/x", False),
}


@pytest.mark.parametrize("name", REDIRECTS)
def test_redirects_are_followed_by_the_rules(
    registry: FakeRegistry, stranger: FakeRegistry, session: RegistrySession, name: str
) -> None:
    location, works = REDIRECTS[name]
    location = location.replace("{stranger}", stranger.url).replace("{registry}", registry.url)
    manifest = registry.add(REPOSITORY, "v1", WEIGHTS)
    stranger.add(REPOSITORY, "v1", WEIGHTS)
    registry.fault(REPOSITORY, faults.on_blobs(faults.redirect(location)))
    if works:
        assert pull(session, registry).exists(manifest.config)
        assert not stranger.seen(kind="manifests")
    else:
        assert isinstance(failure(lambda: pull(session, registry)), RegistryUnavailable)
        assert len(registry.seen(kind="blobs")) <= 6
        assert not stranger.requests


def test_a_redirected_range_keeps_its_range(
    registry: FakeRegistry, stranger: FakeRegistry, session: RegistrySession
) -> None:
    manifest = registry.add(REPOSITORY, "v1", WEIGHTS)
    stranger.add(REPOSITORY, "v1", WEIGHTS)
    registry.fault(REPOSITORY, faults.on_blobs(faults.redirect(stranger.url + "{target}?signature=x")))
    stranger.fault(REPOSITORY, faults.on_blobs(faults.cut(100_000), times=1))
    assert pull(session, registry).exists(manifest.config)
    assert stranger.seen()[1].headers["Range"].endswith("-307199")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_trouble_is_waited_out(registry: FakeRegistry, session: RegistrySession, status: int) -> None:
    manifest = registry.add(REPOSITORY, "v1", b"{}")
    registry.fault(REPOSITORY, faults.on("manifests", "GET", faults.refuse(status), times=2))
    target = RegistryTarget(session, registry.address, REPOSITORY)
    assert target.resolve("v1").digest == manifest.descriptor.digest


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 413, 416, 422, 451])
def test_a_plain_no_is_not_asked_again(registry: FakeRegistry, session: RegistrySession, status: int) -> None:
    registry.fault(REPOSITORY, faults.refuse(status))
    target = RegistryTarget(session, registry.address, REPOSITORY)
    failure(lambda: target.resolve("v1"))
    assert len(registry.requests) == 1


@pytest.mark.parametrize(
    ("retry_after", "slept"),
    [("3", [3.0, 3.0]), ("60", [60.0, 60.0]), ("9999999", []), ("garbage", None), ("", None)],
)
def test_retry_after_is_kept_to(registry: FakeRegistry, retry_after: str, slept: list[float] | None) -> None:
    naps: list[float] = []
    registry.fault(REPOSITORY, faults.refuse(429, "TOOMANYREQUESTS", Retry_After=retry_after))
    with RegistrySession(SETTINGS, clock=Clock(monotonic=lambda: 0.0, sleep=naps.append)) as session:
        target = RegistryTarget(session, registry.address, REPOSITORY)
        error = failure(lambda: target.resolve("v1"))
    assert isinstance(error, RegistryUnavailable)
    if slept is None:
        assert len(naps) == 2
        assert max(naps) <= 0.01
        assert error.retry_after_s is None
    else:
        assert naps == slept
        assert error.retry_after_s == float(retry_after)


def test_tags_are_read_page_by_page(registry: FakeRegistry, session: RegistrySession) -> None:
    for tag in "abcde":
        registry.add(REPOSITORY, tag, b"{}")
    assert RegistryTarget(session, registry.address, REPOSITORY).tags() == list("abcde")
    assert len(registry.requests) == 3


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        pytest.param(faults.header("Link", '</v2/team/model/tags/list>; rel="next"'), 2, id="same page"),
        pytest.param(faults.header("Link", '<http://127.0.0.2:1/x>; rel="next"'), 1, id="other host"),
        pytest.param(faults.header("Link", "</x>; rel=prev"), 1, id="not next"),
        pytest.param(faults.answer(json_reply({"tags": 5})), 1, id="number"),
        pytest.param(faults.answer(json_reply({"tags": [5]})), 1, id="numbers"),
        pytest.param(faults.answer(Reply(200, {}, b"<html>")), 1, id="html"),
        pytest.param(faults.endless, 1, id="endless"),
    ],
)
def test_bad_lists_of_tags_end(
    registry: FakeRegistry, session: RegistrySession, fault: Fault, requests: int
) -> None:
    registry.add(REPOSITORY, "v1", b"{}")
    registry.fault(REPOSITORY, fault)
    target = RegistryTarget(session, registry.address, REPOSITORY)
    with contextlib.suppress(RegistryUnavailable):
        assert target.tags() == ["v1"]
    assert len(registry.requests) == requests


def test_pages_without_end_are_given_up(registry: FakeRegistry, session: RegistrySession) -> None:
    numbers = itertools.count()

    def another_page(_request: Request, _reply: Reply) -> Reply:
        number = next(numbers)
        page = json_reply({"tags": [f"t{number}"]})
        return page.with_header("Link", f'</v2/{REPOSITORY}/tags/list?last={number}>; rel="next"')

    registry.fault(REPOSITORY, another_page)
    target = RegistryTarget(session, registry.address, REPOSITORY)
    assert isinstance(failure(target.tags), RegistryUnavailable)
    assert len(registry.requests) == 1_000


def test_a_registrys_words_cannot_move_the_cursor(registry: FakeRegistry, session: RegistrySession) -> None:
    words = "\x1b[2J\r\nfake line \u202e\u0007 " + "x" * 5_000
    registry.fault(REPOSITORY, faults.refuse(403, "DENIED", words))
    target = RegistryTarget(session, registry.address, REPOSITORY)
    text = str(failure(lambda: target.resolve("v1")))
    assert text.isprintable() or all(char == " " or char.isprintable() for char in text)
    assert len(text) < 1_000
    assert "fake line" in text

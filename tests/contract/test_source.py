"""What every place that is only read from promises: the reading half of mrpack/content/ports.py."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.content.ports import FileBacked, Source
from mrpack.content.progress import Event, Finished, Outcome
from mrpack.digest import Digest
from mrpack.errors import IntegrityError, NotFound, TransferError
from mrpack.neighbours import NeighbourStore
from mrpack.neighbours.dmr import DOCKER_MODEL_RUNNER
from mrpack.neighbours.ollama import OLLAMA
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest
from mrpack.store.layout import OciLayout
from tests.fakes.neighbours import ollama_artifact, write_dmr, write_newer_ollama, write_ollama
from tests.reading import Lister, read, read_raw

WEIGHTS = os.urandom(300_000)


@dataclass
class Given:
    """A source with one artifact under `ref`; `path` says where a blob of it lies."""

    source: Source
    ref: str
    manifest: Manifest
    path: Callable[[Digest], Path]


def in_ollama(folder: Path, memory: MemoryTarget, manifest: Manifest) -> Given:
    write_ollama(folder, memory, manifest, "registry.ollama.ai/library/tiny/v1")
    return Given(
        NeighbourStore(OLLAMA, folder), "tiny:v1", manifest, lambda digest: OLLAMA.blob(folder, digest)
    )


def in_newer_ollama(folder: Path, memory: MemoryTarget, manifest: Manifest) -> Given:
    write_newer_ollama(folder, memory, manifest, "ollama.com/library/tiny/v1")
    return Given(
        NeighbourStore(OLLAMA, folder), "tiny:v1", manifest, lambda digest: OLLAMA.blob(folder, digest)
    )


def in_dmr(folder: Path, memory: MemoryTarget, manifest: Manifest) -> Given:
    write_dmr(folder, memory, manifest, "docker.io/ai/tiny:v1")
    source = NeighbourStore(DOCKER_MODEL_RUNNER, folder)
    return Given(source, "tiny:v1", manifest, lambda digest: DOCKER_MODEL_RUNNER.blob(folder, digest))


def in_a_layout(folder: Path, memory: MemoryTarget, manifest: Manifest) -> Given:
    copy(memory, "v1", OciLayout(folder), "tiny:v1")
    layout = OciLayout(folder, create=False)
    return Given(layout, "tiny:v1", manifest, layout.blobs.path)


SOURCES = {
    "ollama": in_ollama,
    "ollama, newer": in_newer_ollama,
    "docker model runner": in_dmr,
    "layout": in_a_layout,
}


@pytest.fixture(params=SOURCES)
def given(request: pytest.FixtureRequest, tmp_path: Path) -> Given:
    memory = MemoryTarget()
    return SOURCES[request.param](tmp_path / "there", memory, ollama_artifact(memory, WEIGHTS))


def test_a_name_resolves_to_what_the_bytes_say(given: Given) -> None:
    assert given.source.resolve(given.ref) == given.manifest.descriptor
    assert given.source.resolve(str(given.manifest.descriptor.digest)) == given.manifest.descriptor
    assert read(given.source, given.manifest.descriptor) == given.manifest.raw


@pytest.mark.parametrize("ref", ["tiny:v2", "other:v1", f"sha256:{'0' * 64}"])
def test_an_unknown_name_is_not_found(given: Given, ref: str) -> None:
    with pytest.raises(NotFound):
        given.source.resolve(ref)


def test_blobs_come_from_any_offset(given: Given) -> None:
    given.source.resolve(given.ref)
    weights = given.manifest.layers[0]
    for offset in (0, 1, len(WEIGHTS) - 1, len(WEIGHTS)):
        assert read_raw(given.source.fetch(weights, offset)) == WEIGHTS[offset:]
    assert read_raw(given.source.fetch(given.manifest.descriptor, 10)) == given.manifest.raw[10:]


def test_an_absent_blob_is_not_found(given: Given) -> None:
    absent = Descriptor(media_type="x", digest=Digest.of(b"absent"), size=6)
    with pytest.raises(NotFound):
        given.source.fetch(absent)
    assert isinstance(given.source, FileBacked)
    assert given.source.blob_file(absent) is None


def test_names_are_listed(given: Given) -> None:
    assert isinstance(given.source, Lister)
    (name,) = given.source.tags()
    assert name.endswith("tiny:v1")
    assert given.source.resolve(name) == given.manifest.descriptor


def test_the_store_takes_the_files_as_they_are(given: Given, tmp_path: Path) -> None:
    events: list[Event] = []
    store = OciLayout(tmp_path / "store")
    assert copy(given.source, given.ref, store, "here", report=events.append) == given.manifest.descriptor
    assert {event.outcome for event in events if isinstance(event, Finished)} == {Outcome.LINKED}
    assert read(store, given.manifest.layers[0]) == WEIGHTS


@pytest.mark.parametrize("damage", ["other bytes", "shorter"])
def test_a_damaged_blob_is_given_to_nobody(given: Given, tmp_path: Path, damage: str) -> None:
    path = given.path(given.manifest.layers[0].digest)
    path.chmod(0o644)
    path.write_bytes(WEIGHTS[:-1] + (b"" if damage == "shorter" else bytes([WEIGHTS[-1] ^ 1])))
    store = OciLayout(tmp_path / "store")
    with pytest.raises(TransferError) as caught:
        copy(given.source, given.ref, store, "here")
    assert isinstance(caught.value.cause, IntegrityError)
    assert not store.exists(given.manifest.layers[0])


def test_reading_leaves_nothing_behind(given: Given, tmp_path: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        paths = (tmp_path / "there").rglob("*")
        return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_mode) for path in paths}

    before = state()
    copy(given.source, given.ref, MemoryTarget(), "here")
    assert state() == before

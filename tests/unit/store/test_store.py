"""The layout on disk and the store over it."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.digest import ByteSource, BytesSource, Digest
from mrpack.errors import (
    HostRefused,
    IntegrityError,
    InvalidArtifact,
    NotFound,
    RegistryUnavailable,
    UsageError,
)
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import encode
from mrpack.oci.manifest import Manifest
from mrpack.oci.mediatypes import OCI_MANIFEST
from mrpack.oci.reference import Reference
from mrpack.store.durable import LINK_LEAST, sync_folder
from mrpack.store.layout import OciLayout
from mrpack.store.store import Store
from tests.waiting import DEADLINE_S

CONTENT = bytes(range(256)) * 4096


def describe(content: bytes) -> Descriptor:
    return Descriptor(media_type="application/octet-stream", digest=Digest.of(content), size=len(content))


class Stream(BytesSource):
    """Breaks after `breaks_after` bytes, as a connection does."""

    def __init__(self, content: bytes, breaks_after: int | None = None) -> None:
        super().__init__(content)
        self.left = breaks_after

    def readinto(self, buffer: memoryview, /) -> int:
        if self.left is None:
            return super().readinto(buffer)
        if self.left == 0:
            raise RegistryUnavailable("the connection broke")
        count = super().readinto(buffer[: self.left])
        self.left -= count
        return count


def visible(layout: OciLayout) -> list[str]:
    folder = layout.root / "blobs" / "sha256"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def leftovers(layout: OciLayout) -> list[Path]:
    folder = layout.root / "ingest"
    return sorted(folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def layout(tmp_path: Path) -> OciLayout:
    return OciLayout(tmp_path / "layout")


def model(target: MemoryTarget, *contents: bytes, ref: str = "model") -> Manifest:
    config = target.add(
        "application/vnd.docker.ai.model.config.v0.1+json",
        json.dumps(
            {
                "config": {"format": "gguf"},
                "descriptor": {},
                "rootfs": {"type": "rootfs", "diff_ids": [str(Digest.of(item)) for item in contents]},
            }
        ).encode(),
    )
    layers = [target.add("application/vnd.docker.ai.gguf.v3", item) for item in contents]
    manifest = Manifest.build(config=config, layers=layers)
    target.push_manifest(manifest.descriptor, manifest.raw, ref)
    return manifest


def test_a_pushed_blob_is_there_read_only_and_whole(layout: OciLayout) -> None:
    blob = describe(CONTENT)
    layout.push(blob, lambda offset: Stream(CONTENT[offset:]))
    path = layout.blob_file(blob)
    assert path is not None
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert leftovers(layout) == []


@pytest.mark.parametrize("sent", [CONTENT[:-1], CONTENT + b"x", b"x" + CONTENT[1:], b""])
def test_wrong_bytes_leave_nothing(layout: OciLayout, sent: bytes) -> None:
    with pytest.raises(IntegrityError):
        layout.push(describe(CONTENT), lambda offset: Stream(sent[offset:]))
    assert visible(layout) == []
    assert leftovers(layout) == []


def test_a_broken_stream_is_opened_again_where_it_broke(layout: OciLayout) -> None:
    opened: list[int] = []

    def open_at(offset: int) -> ByteSource:
        opened.append(offset)
        return Stream(CONTENT[offset:], breaks_after=300_000)

    layout.push(describe(CONTENT), open_at)
    assert opened == [0, 300_000, 600_000, 900_000]


def test_a_stream_that_gives_nothing_is_given_up_and_resumed_by_the_next_run(layout: OciLayout) -> None:
    opened: list[int] = []

    def broken(offset: int) -> ByteSource:
        opened.append(offset)
        return Stream(CONTENT[offset:], breaks_after=max(0, 400_000 - offset))

    with pytest.raises(RegistryUnavailable):
        layout.push(describe(CONTENT), broken)
    assert visible(layout) == []
    assert opened[-1] == 400_000

    def whole(offset: int) -> ByteSource:
        opened.append(offset)
        return Stream(CONTENT[offset:])

    opened.clear()
    OciLayout(layout.root).push(describe(CONTENT), whole)
    assert opened == [400_000]
    assert leftovers(layout) == []


def test_a_damaged_part_costs_one_more_try(layout: OciLayout) -> None:
    layout.prepare()
    part = layout.root / "ingest" / f"{Digest.of(CONTENT).hex}.0.part"
    part.write_bytes(b"?" * 5000)
    opened: list[int] = []

    def open_at(offset: int) -> ByteSource:
        opened.append(offset)
        return Stream(CONTENT[offset:])

    layout.push(describe(CONTENT), open_at)
    assert opened == [5000, 0]
    assert layout.exists(describe(CONTENT))


def test_two_writers_of_one_blob_fetch_it_once(layout: OciLayout) -> None:
    opened: list[int] = []
    started = threading.Event()
    go_on = threading.Event()

    class Waiting(Stream):
        def readinto(self, buffer: memoryview, /) -> int:
            started.set()
            assert go_on.wait(DEADLINE_S)
            return super().readinto(buffer)

    def open_at(offset: int) -> ByteSource:
        opened.append(offset)
        return Waiting(CONTENT[offset:])

    first = threading.Thread(target=layout.push, args=(describe(CONTENT), open_at))
    first.start()
    assert started.wait(DEADLINE_S)
    second = threading.Thread(target=OciLayout(layout.root).push, args=(describe(CONTENT), open_at))
    second.start()
    go_on.set()
    first.join(DEADLINE_S)
    second.join(DEADLINE_S)
    assert opened == [0]
    assert layout.exists(describe(CONTENT))


def test_a_writer_that_comes_too_late_fetches_nothing(layout: OciLayout) -> None:
    layout.push(describe(CONTENT), lambda offset: Stream(CONTENT[offset:]))

    def open_at(offset: int) -> ByteSource:
        pytest.fail(f"opened at {offset}")

    layout.push(describe(CONTENT), open_at)


def test_an_adopted_file_is_not_copied_on_one_file_system(layout: OciLayout, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(CONTENT)
    mode = file.stat().st_mode
    layout.adopt(describe(CONTENT), file)
    path = layout.blob_file(describe(CONTENT))
    assert path is not None
    assert path.read_bytes() == CONTENT
    assert file.stat().st_mode == mode
    assert leftovers(layout) == []


def test_editing_an_adopted_file_in_place_is_noticed(layout: OciLayout, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    large = os.urandom(LINK_LEAST)
    file.write_bytes(large)
    layout.adopt(describe(large), file)
    path = layout.blobs.path(Digest.of(large))
    if not path.samefile(file):
        pytest.skip("this file system gives the store extents of its own")
    with file.open("r+b") as edited:
        edited.write(b"edited")
    os.utime(file, ns=(1, 1))
    assert not layout.exists(describe(large))
    with pytest.raises(IntegrityError, match="edited after packaging"):
        layout.fetch(describe(large))


def test_editing_a_small_file_changes_no_model(layout: OciLayout, tmp_path: Path) -> None:
    file = tmp_path / "LICENSE"
    file.write_bytes(b"licence")
    layout.adopt(describe(b"licence"), file)
    file.write_bytes(b"another")
    assert layout.exists(describe(b"licence"))
    assert layout.blobs.path(Digest.of(b"licence")).read_bytes() == b"licence"


def test_a_planted_link_is_not_followed(layout: OciLayout, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    layout.prepare()
    path = layout.blobs.path(Digest.of(CONTENT))
    path.parent.mkdir(parents=True)
    path.symlink_to(secret)
    assert not layout.exists(describe(CONTENT))
    with pytest.raises(HostRefused):
        layout.fetch(describe(CONTENT))


def test_no_space_is_said_before_the_first_byte(layout: OciLayout) -> None:
    huge = Descriptor(media_type="x/y", digest=Digest.of(b"huge"), size=2**62)
    with pytest.raises(HostRefused, match="bytes needed"):
        layout.push(huge, lambda _offset: Stream(b"", breaks_after=0))
    assert visible(layout) == []


def test_many_writers_of_the_index_lose_no_tag(layout: OciLayout) -> None:
    memory = MemoryTarget()
    model(memory, b"weights")

    def tag(number: int) -> None:
        copy(memory, "model", OciLayout(layout.root), f"model:{number}")

    threads = [threading.Thread(target=tag, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(layout.tags()) == 16


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_file_system_that_syncs_no_folders_is_taken_as_it_is() -> None:
    """As some network and shared folders are; fsync(2) answers EINVAL there."""
    sync_folder(Path("/proc"))


def test_a_layout_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion":"9.0.0"}')
    with pytest.raises(InvalidArtifact, match=r"9\.0\.0"):
        OciLayout(tmp_path)
    with pytest.raises(NotFound):
        OciLayout(tmp_path / "nothing", create=False)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def fill(store: Store, name: str, *contents: bytes) -> Descriptor:
    memory = MemoryTarget()
    model(memory, *contents)
    with store.operation() as layout:
        return copy(memory, "model", layout, str(Reference.parse(name)))


def test_models_are_found_by_every_name_people_use(store: Store) -> None:
    digest = fill(store, "registry.example.com/team/smollm2:135M", b"weights").digest
    fill(store, "other", b"other")
    for name in (
        "registry.example.com/team/smollm2:135M",
        f"registry.example.com/team/smollm2@{digest}",
        str(digest),
        digest.short,
        digest.hex,
        "smollm2",
        "smollm2:135M",
        "SmolLM2:135M",
    ):
        assert store.find(name).manifest.digest == digest, name
    for name in ("smollm2:136M", "team/smollm2", "llm2", "sha256:" + "0" * 64):
        with pytest.raises(NotFound):
            store.find(name)


def test_an_ambiguous_name_is_refused(store: Store) -> None:
    fill(store, "registry.example.com/a/m:v1", b"one")
    fill(store, "registry.example.com/b/m:v2", b"two")
    with pytest.raises(UsageError, match="could be any of"):
        store.find("m")
    assert store.find("m:v2").reference.repository == "b/m"


def test_removing_frees_only_what_no_other_model_needs(store: Store) -> None:
    fill(store, "one", b"shared", b"only one")
    kept = fill(store, "two", b"shared")
    store.remove(store.find("one"))
    collected = store.collect()
    assert Digest.of(b"only one") in collected.digests
    assert Digest.of(b"shared") not in collected.digests
    assert store.verify(store.models()) == []
    assert [model.manifest.digest for model in store.models()] == [kept.digest]


def test_gc_waits_for_nobody_and_harms_nobody(store: Store) -> None:
    with store.operation() as layout:
        layout.push(describe(CONTENT), lambda offset: Stream(CONTENT[offset:]))
        with pytest.raises(HostRefused, match="another mrpack"):
            Store(store.home).collect()
        assert layout.exists(describe(CONTENT))
    assert Store(store.home).collect().freed >= len(CONTENT)


def test_an_unreadable_manifest_stops_gc(store: Store) -> None:
    manifest = fill(store, "m", b"weights")
    path = store.layout.blobs.path(manifest.digest)
    path.chmod(0o644)
    path.write_bytes(b"{}")
    with pytest.raises((IntegrityError, InvalidArtifact)):
        store.collect()
    assert store.layout.exists(describe(b"weights"))


def test_verify_finds_a_flipped_bit_and_a_missing_blob(store: Store) -> None:
    fill(store, "m", b"weights", b"more weights")
    assert store.verify(store.models()) == []
    path = store.layout.blobs.path(Digest.of(b"weights"))
    path.chmod(0o644)
    path.write_bytes(b"wEights")
    store.layout.blobs.path(Digest.of(b"more weights")).unlink()
    damaged = {damage.digest for damage in store.verify(store.models())}
    assert damaged == {Digest.of(b"weights"), Digest.of(b"more weights")}


def test_a_bundle_holds_the_files_under_their_names(store: Store) -> None:
    manifest = fill(store, "m", b"shard one", b"shard two")
    bundle = store.bundle(manifest)
    assert [path.read_bytes() for path in sorted(bundle.folder.iterdir())] == [b"shard one", b"shard two"]
    assert bundle.main_path.name == "model-00001-of-00002.gguf"
    bundle.main_path.unlink()
    assert store.bundle(manifest).main_path.read_bytes() == b"shard one"


@pytest.mark.parametrize("media_type", [{}, {"mediaType": OCI_MANIFEST}])
def test_a_part_of_an_index_is_found_by_its_digest(layout: OciLayout, media_type: dict[str, str]) -> None:
    """image-spec lets the media type be absent."""
    config = describe(b"{}")
    raw = encode({"schemaVersion": 2, **media_type, "config": config.to_json(), "layers": []})
    child = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(raw), size=len(raw))
    layout.push(child, lambda offset: BytesSource(raw[offset:]))
    assert layout.resolve(str(child.digest)) == child
    layout.push(config, lambda offset: BytesSource(b"{}"[offset:]))
    with pytest.raises(NotFound):
        layout.resolve(str(config.digest))


def test_a_store_of_a_newer_version_is_refused(store: Store) -> None:
    fill(store, "m", b"weights")
    (store.layout.root / "mrpack-store.json").write_text('{"version":2}')
    with pytest.raises(InvalidArtifact, match="version 2"):
        Store(store.home)


def test_a_store_of_a_newer_version_is_refused_as_a_place_too(store: Store) -> None:
    """As in `mrpack copy X oci:STORE`."""
    fill(store, "m", b"weights")
    (store.layout.root / "mrpack-store.json").write_text('{"version":2}')
    before = {path: path.lstat().st_mtime_ns for path in store.layout.root.rglob("*")}
    for create in (False, True):
        with pytest.raises(InvalidArtifact, match="version 2"):
            OciLayout(store.layout.root, create=create)
    assert {path: path.lstat().st_mtime_ns for path in store.layout.root.rglob("*")} == before

"""Stores that somebody prepared, files that somebody changes, and disks without links."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mrpack.content.copy import copy
from mrpack.content.documents import NESTING_LIMIT
from mrpack.content.memory import MemoryTarget
from mrpack.content.progress import silent
from mrpack.digest import ByteSource, BytesSource, Digest
from mrpack.errors import HostRefused, IntegrityError, MrpackError, NotFound, TransferError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index, Manifest
from mrpack.store.archive import OciArchive
from mrpack.store.archive_stream import Outline
from mrpack.store.durable import LINK_LEAST
from mrpack.store.layout import OciLayout
from mrpack.store.store import Store

WEIGHTS = b"weights" * 1000
DIGEST = Digest.of(WEIGHTS)
BLOB = Descriptor(media_type="application/vnd.docker.ai.gguf.v3", digest=DIGEST, size=len(WEIGHTS))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def model() -> tuple[MemoryTarget, Manifest]:
    memory = MemoryTarget()
    raw = {
        "config": {"format": "gguf"},
        "descriptor": {},
        "rootfs": {"type": "rootfs", "diff_ids": [str(DIGEST)]},
    }
    config = memory.add("application/vnd.docker.ai.model.config.v0.1+json", json.dumps(raw).encode())
    manifest = Manifest.build(config=config, layers=[memory.add(BLOB.media_type, WEIGHTS)])
    memory.push_manifest(manifest.descriptor, manifest.raw, "model")
    return memory, manifest


def fill(store: Store) -> Descriptor:
    memory, _ = model()
    with store.operation() as layout:
        return copy(memory, "model", layout, "docker.io/ai/m:latest")


def use_everything(store: Store) -> Iterator[MrpackError | None]:
    """Every kind of use, as far as it gets."""
    uses: tuple[Callable[[], object], ...] = (
        lambda: Store(store.home).models(),
        lambda: fill(Store(store.home)),
        lambda: Store(store.home).verify(),
        lambda: Store(store.home).usage(),
        lambda: Store(store.home).tag("m", Store(store.home).models()[0].reference),
        lambda: Store(store.home).bundle(model()[1].descriptor),
        lambda: Store(store.home).collect(),
        lambda: Store(store.home, lenient=True).repair(),
    )
    for use in uses:
        try:
            use()
        except MrpackError as error:
            yield error
        except IndexError:
            yield None
        else:
            yield None


PLANTED = (
    "oci-layout",
    "index.json",
    ".last-index.json",
    "mrpack-store.json",
    ".lock",
    ".gc-lock",
    f"blobs/sha256/{DIGEST.hex}",
    f"ingest/{DIGEST.hex}.0.part",
)


@pytest.mark.parametrize("what", ["link", "dangling link", "pipe"])
@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_neither_followed_nor_waited_for(
    name: str, what: str, store: Store, tmp_path: Path
) -> None:
    fill(store)
    victim = tmp_path / "victim"
    victim.write_bytes(WEIGHTS)
    path = store.layout.root / name
    path.unlink(missing_ok=True)
    if what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(victim if what == "link" else tmp_path / "nowhere")
    outcomes = list(use_everything(store))
    assert len(outcomes) == 8
    assert victim.read_bytes() == WEIGHTS
    assert not (tmp_path / "nowhere").exists()
    blob = store.layout.blobs.path(DIGEST)
    assert not blob.is_file() or (not blob.is_symlink() and blob.read_bytes() == WEIGHTS)


def test_a_folder_of_blobs_elsewhere_is_the_users_own_decision(store: Store, tmp_path: Path) -> None:
    fill(store)
    blobs = store.layout.root / "blobs"
    shutil.move(blobs, tmp_path / "big disk")
    blobs.symlink_to(tmp_path / "big disk")
    assert store.verify() == []


def test_a_file_behind_a_link_is_adopted_itself(store: Store, tmp_path: Path) -> None:
    """As Hugging Face's cache keeps them."""
    (tmp_path / "blob").write_bytes(WEIGHTS)
    (tmp_path / "model.gguf").symlink_to("blob")
    store.layout.adopt(BLOB, tmp_path / "model.gguf")
    blob = store.layout.blobs.path(DIGEST)
    assert not blob.is_symlink()
    assert blob.read_bytes() == WEIGHTS


def test_a_layout_from_anywhere_is_hashed_before_its_files_are_taken(tmp_path: Path) -> None:
    memory, manifest = model()
    foreign = OciLayout(tmp_path / "foreign")
    copy(memory, "model", foreign, "model")
    path = foreign.blobs.path(DIGEST)
    path.unlink()
    path.write_bytes(WEIGHTS[:-1] + b"?")
    target = OciLayout(tmp_path / "target")
    with pytest.raises(TransferError) as caught:
        copy(foreign, "model", target, "model")
    assert isinstance(caught.value.cause, IntegrityError)
    assert not target.blobs.path(DIGEST).exists()
    with pytest.raises(NotFound):
        target.resolve("model")
    assert manifest.descriptor.digest not in {digest for digest, _ in target.blobs.digests()}


def test_a_note_on_one_file_says_nothing_of_another(store: Store, tmp_path: Path) -> None:
    """Of two who package the same bytes from two files, the last one's file is watched."""
    large = os.urandom(LINK_LEAST)
    blob = Descriptor(media_type="a/b", digest=Digest.of(large), size=len(large))
    files = [tmp_path / "one.gguf", tmp_path / "two.gguf"]
    for number, file in enumerate(files):
        file.write_bytes(large)
        os.utime(file, (number, number))
        store.layout.adopt(blob, file)
        assert store.layout.exists(blob)
    if not store.layout.blobs.path(blob.digest).samefile(files[1]):
        pytest.skip("this file system gives the store extents of its own")
    os.utime(files[0], (7, 7))
    assert store.layout.exists(blob)
    os.utime(files[1], (7, 7))
    assert not store.layout.exists(blob)
    store.layout.push(blob, lambda offset: BytesSource(large[offset:]))
    assert store.layout.exists(blob)


def test_a_bundle_whose_blob_was_replaced_is_built_again(store: Store) -> None:
    manifest = fill(store)
    path = store.bundle(manifest).main_path
    blob = store.layout.blobs.path(DIGEST)
    blob.unlink()
    path.chmod(0o644)
    path.write_bytes(b"w" * len(WEIGHTS))
    os.utime(path, ns=(1, 1))  # not by chance the time of the new blob
    fill(store)
    assert store.bundle(manifest).main_path.read_bytes() == WEIGHTS


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    place = Path("/dev/shm")
    if not place.is_dir() or place.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second disk here")
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


def test_across_disks_a_bundle_is_a_copy_and_is_built_once(store: Store, other_disk: Path) -> None:
    manifest = fill(store)
    (store.home / "bundles").symlink_to(other_disk)
    path = store.bundle(manifest).main_path
    assert path.read_bytes() == WEIGHTS
    assert not path.samefile(store.layout.blobs.path(DIGEST))
    assert path.stat().st_mode & 0o777 == 0o444
    built = path.stat().st_ino
    assert store.bundle(manifest).main_path.stat().st_ino == built
    path.unlink()
    path.write_bytes(b"w" * len(WEIGHTS))
    os.utime(path, ns=(1, 1))
    assert store.bundle(manifest).main_path.read_bytes() == WEIGHTS


def test_a_layout_on_two_disks_is_refused_with_a_way_out(
    store: Store, tmp_path: Path, other_disk: Path
) -> None:
    store.layout.root.mkdir(parents=True)
    (store.layout.root / "blobs").symlink_to(other_disk)
    (source := tmp_path / "model.gguf").write_bytes(WEIGHTS)

    def not_opened(offset: int) -> ByteSource:
        raise AssertionError(f"bytes from {offset} on for a disk that they cannot get to")

    for bring in (lambda: store.layout.push(BLOB, not_opened), lambda: store.layout.adopt(BLOB, source)):
        with pytest.raises(HostRefused, match="several disks") as caught:
            bring()
        assert caught.value.hint


def test_indexes_that_multiply_are_read_once(store: Store) -> None:
    """Each names the one within a thousand times: 10^12 ways to the manifest."""
    memory, manifest = model()
    inner = manifest.descriptor
    for _ in range(NESTING_LIMIT):
        index = Index.build([inner] * 1_000)
        inner = index.descriptor
        memory.push_manifest(inner, index.raw, "all")
    with store.operation() as layout:
        copy(memory, "all", layout, "docker.io/ai/m:latest")
    assert store.verify() == []
    assert store.usage().reclaimable == 0
    assert store.collect().digests == ()
    copy(store.layout, str(inner.digest), OciArchive(store.home / "m.tar"), "v1")
    with (store.home / "stream.tar").open("wb") as sink:
        outline = Outline(store.layout)
        outline.add(inner, "v1")
        outline.write(sink, silent)
    assert (store.home / "stream.tar").read_bytes() == (store.home / "m.tar").read_bytes()


def test_across_disks_a_file_is_copied_and_sealed(store: Store, other_disk: Path) -> None:
    (other_disk / "model.gguf").write_bytes(WEIGHTS)
    store.layout.adopt(BLOB, other_disk / "model.gguf")
    blob = store.layout.blobs.path(DIGEST)
    assert blob.read_bytes() == WEIGHTS
    assert blob.stat().st_mode & 0o777 == 0o444


def test_a_lost_index_is_not_taken_for_an_empty_one(store: Store) -> None:
    fill(store)
    (store.layout.root / "index.json").unlink()
    with pytest.raises(IntegrityError, match="repair"):
        store.collect()
    assert store.layout.blobs.path(DIGEST).exists()


def test_a_store_that_is_removed_while_it_is_written_to_says_so(store: Store) -> None:
    def fill_and_remove() -> None:
        with store.operation():
            fill(store)
            shutil.rmtree(store.home)
            fill(store)

    with pytest.raises(HostRefused, match="was removed"):
        fill_and_remove()
    assert store.verify() == []


def test_a_lost_word_that_this_is_a_layout_is_written_again(store: Store) -> None:
    """Without it other tools do not read it."""
    fill(store)
    (store.layout.root / "oci-layout").unlink()
    fill(store)
    assert OciLayout(store.layout.root, create=False).tags() == ["docker.io/ai/m:latest"]


def test_an_unwritable_home_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostRefused):
        fill(Store(tmp_path / "file" / "home"))

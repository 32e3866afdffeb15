"""What `verify` finds and `repair` can still save."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.digest import Digest
from mrpack.errors import HostRefused, IntegrityError, InvalidArtifact, MrpackError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index, Manifest
from mrpack.oci.reference import Reference
from mrpack.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def fill(store: Store, name: str, *contents: bytes) -> Descriptor:
    memory = MemoryTarget()
    config = memory.add("application/vnd.docker.ai.model.config.v0.1+json", json.dumps({"n": name}).encode())
    layers = [memory.add("application/vnd.docker.ai.gguf.v3", content) for content in contents]
    manifest = Manifest.build(config=config, layers=layers)
    memory.push_manifest(manifest.descriptor, manifest.raw, "model")
    with store.operation() as layout:
        return copy(memory, "model", layout, str(Reference.parse(name)))


def flip(store: Store, digest: Digest, bit: int) -> None:
    path = store.layout.blobs.path(digest)
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


def repair(store: Store, **options: bool):
    return Store(store.home, lenient=True).repair(**options)


def names(store: Store) -> list[str]:
    return [str(model.reference) for model in Store(store.home).models()]


def index(store: Store) -> Path:
    return store.layout.root / "index.json"


def test_verify_finds_every_one_of_a_thousand_flipped_bits(store: Store) -> None:
    chance = random.Random(0)
    contents = [chance.randbytes(chance.randrange(1, 500)) for _ in range(1000)]
    fill(store, "m", *contents)
    assert store.verify() == []
    for content in contents:
        flip(store, Digest.of(content), chance.randrange(8 * len(content)))
    damaged = {damage.digest for damage in store.verify()}
    assert damaged == {Digest.of(content) for content in contents}


def test_verify_looks_at_what_no_model_needs_too(store: Store) -> None:
    fill(store, "m", b"weights")
    store.remove(store.find("m"))
    flip(store, Digest.of(b"weights"), 5)
    (damage,) = store.verify()
    assert damage.references == ()
    assert store.verify([]) == []


def test_a_sound_store_is_left_alone(store: Store) -> None:
    fill(store, "m", b"weights")
    before = index(store).stat()
    repaired = repair(store)
    assert repaired.is_sound
    after = index(store).stat()  # it was read, which some file systems note
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_damaged_blob_moves_aside_and_comes_back_with_the_next_copy(store: Store) -> None:
    fill(store, "m", b"weights", b"more")
    flip(store, Digest.of(b"weights"), 3)
    repaired = repair(store)
    assert [damage.digest for damage in repaired.damaged] == [Digest.of(b"weights")]
    assert repaired.damaged[0].references == ("docker.io/ai/m:latest",)
    assert repaired.incomplete == ("docker.io/ai/m:latest",)
    (kept,) = (store.layout.root / "damaged").iterdir()
    assert kept.name == f"sha256-{Digest.of(b'weights').hex}"
    assert names(store) == ["docker.io/ai/m:latest"]
    fill(store, "m", b"weights", b"more")
    assert store.verify() == []
    flip(store, Digest.of(b"weights"), 4)
    repair(store)
    assert len(list((store.layout.root / "damaged").iterdir())) == 2


def test_a_name_without_its_manifest_is_dropped_and_told(store: Store) -> None:
    manifest = fill(store, "bad", b"weights")
    fill(store, "good", b"weights")
    flip(store, manifest.digest, 9)
    with pytest.raises(MrpackError):
        store.collect()
    repaired = repair(store)
    assert repaired.dropped == ("docker.io/ai/bad:latest",)
    assert repaired.damaged[0].references == ("docker.io/ai/bad:latest",)
    assert names(store) == ["docker.io/ai/good:latest"]
    store.collect()


@pytest.mark.parametrize("damage", ["lost", "empty", "torn", "not JSON", "not an index"])
def test_an_index_is_made_again_with_its_names(store: Store, damage: str) -> None:
    fill(store, "one", b"1")
    fill(store, "two", b"2")
    raw = index(store).read_bytes()
    index(store).unlink()
    replacement = {"empty": b"", "torn": raw[:-20], "not JSON": b"\0" * 40, "not an index": b'{"a":1}'}
    if damage in replacement:
        index(store).write_bytes(replacement[damage])
    for use in (store.models, store.collect, lambda: fill(store, "three", b"3")):
        with pytest.raises((IntegrityError, InvalidArtifact), match="mrpack repair"):
            use()
    dry = repair(store, dry_run=True)
    assert dry.rebuilt
    with pytest.raises((IntegrityError, InvalidArtifact)):
        store.models()
    assert repair(store) == dry
    assert index(store).read_bytes() == raw
    assert store.verify() == []


def test_without_any_copy_of_the_index_models_get_new_names(store: Store) -> None:
    manifest = fill(store, "one", b"1", b"shared")
    fill(store, "two", b"2", b"shared")
    store.layout.blobs.path(Digest.of(b"2")).unlink()
    index(store).unlink()
    (store.layout.root / ".last-index.json").unlink()
    repaired = repair(store)
    assert repaired.recovered == (f"localhost/recovered/{manifest.digest.short}:latest",)
    assert names(store) == list(repaired.recovered)
    assert Digest.of(b"2") not in {damage.digest for damage in store.verify()}


def test_an_index_of_artifacts_comes_back_as_one(store: Store) -> None:
    children = [fill(store, "one", b"1"), fill(store, "two", b"2")]
    both = Index.build(children)
    with store.operation() as layout:
        layout.push_manifest(both.descriptor, both.raw, "docker.io/ai/both:latest")
    index(store).unlink()
    (store.layout.root / ".last-index.json").unlink()
    assert repair(store).recovered == (f"localhost/recovered/{both.descriptor.digest.short}:latest",)


@pytest.mark.parametrize("name", ["oci-layout", "mrpack-store.json"])
@pytest.mark.parametrize("content", [None, b"", b"{"])
def test_the_marks_of_a_store_are_written_again(store: Store, name: str, content: bytes | None) -> None:
    fill(store, "m", b"weights")
    mark = store.layout.root / name
    raw = mark.read_bytes()
    if content is None:
        mark.unlink()
    else:
        mark.write_bytes(content)
        with pytest.raises(InvalidArtifact, match="mrpack repair"):
            Store(store.home)
    repair(store)
    assert mark.read_bytes() == raw
    assert names(store) == ["docker.io/ai/m:latest"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("oci-layout", b'{"imageLayoutVersion":"2.0.0"}'), ("mrpack-store.json", b'{"version":2}')],
)
def test_a_store_of_another_version_is_not_for_us_to_repair(store: Store, name: str, content: bytes) -> None:
    fill(store, "m", b"weights")
    (store.layout.root / name).write_bytes(content)
    with pytest.raises(InvalidArtifact, match="2"):
        repair(store)


def test_a_store_that_was_upgraded_meanwhile_is_not_written_to(store: Store) -> None:
    fill(store, "m", b"weights")
    (store.layout.root / "mrpack-store.json").write_bytes(b'{"version":2}')
    with pytest.raises(InvalidArtifact, match="version 2"):
        fill(store, "n", b"more")
    assert Digest.of(b"more") not in {digest for digest, _ in store.layout.blobs.digests()}


def test_repair_leaves_a_busy_store_alone(store: Store) -> None:
    with store.operation(), pytest.raises(HostRefused, match="another mrpack"):
        repair(store)


def test_a_bundle_follows_its_repaired_blob(store: Store) -> None:
    memory = MemoryTarget()
    raw = json.dumps(
        {
            "config": {"format": "gguf"},
            "descriptor": {},
            "rootfs": {"type": "rootfs", "diff_ids": [str(Digest.of(b"weights"))]},
        }
    ).encode()
    config = memory.add("application/vnd.docker.ai.model.config.v0.1+json", raw)
    manifest = Manifest.build(
        config=config, layers=[memory.add("application/vnd.docker.ai.gguf.v3", b"weights")]
    )
    memory.push_manifest(manifest.descriptor, manifest.raw, "model")

    def bundle() -> Path:
        with store.operation() as layout:
            found = copy(memory, "model", layout, "docker.io/ai/m:latest")
        return store.bundle(found).main_path

    path = bundle()
    path.chmod(0o644)
    path.write_bytes(b"wEights")
    flip(store, Digest.of(b"weights"), 2)
    os.utime(path, ns=(1, 1))  # not by chance the time of the repaired blob
    repair(store)
    assert bundle().read_bytes() == b"weights"
    assert store.verify() == []

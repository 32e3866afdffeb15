"""Models whose files lie in archives: unpacked once, opened as any other."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import BinaryIO

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.digest import ByteSource
from mrpack.errors import InvalidArtifact
from mrpack.model.layer import LayerRole
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest
from mrpack.store.store import Store
from mrpack.store.unpacked import UnpackedArchives

ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = (
    b'{"descriptor":{"name":"m"},"modelfs":{"type":"layers","diffIds":[]},"config":{"format":"safetensors"}}'
)


def tar(members: dict[str, bytes], kind: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{kind}") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def store_model(home: Path, *layers: tuple[str, bytes]) -> tuple[Store, Descriptor]:
    memory = MemoryTarget()
    config = memory.add("application/vnd.cncf.model.config.v1+json", CONFIG)
    manifest = Manifest.build(
        config=config,
        layers=[memory.add(f"application/vnd.cncf.model.{kind}", content) for kind, content in layers],
        artifact_type=ARTIFACT_TYPE,
    )
    memory.push_manifest(manifest.descriptor, manifest.raw, "m")
    store = Store(home)
    with store.operation() as layout:
        return store, copy(memory, "m", layout, "docker.io/ai/m:latest")


def test_files_of_archives_are_in_the_bundle(tmp_path: Path) -> None:
    store, manifest = store_model(
        tmp_path,
        ("weight.v1.tar", tar({"model.safetensors": b"weights"})),
        ("weight.config.v1.tar+gzip", tar({"config.json": b"{}", "sub/tokenizer.json": b"[]"}, "gz")),
    )
    bundle = store.bundle(manifest)
    assert (bundle.folder / "sub" / "tokenizer.json").read_bytes() == b"[]"
    assert [path.read_bytes() for path in bundle.paths(LayerRole.WEIGHTS)] == [b"weights"]
    again = store.bundle(manifest)
    assert [file.path for file in again.artifact.files] == [file.path for file in bundle.artifact.files]


@pytest.mark.parametrize(
    "content", ["{", "", "[]", '{"files":null}', '{"files":[1]}', '{"files":[{"path":"m"}]}', "\0" * 99]
)
def test_a_torn_list_of_what_was_unpacked_is_made_anew(tmp_path: Path, content: str) -> None:
    store, manifest = store_model(tmp_path, ("weight.v1.tar", tar({"model.safetensors": b"weights"})))
    bundle = store.bundle(manifest)
    next((tmp_path / "unpacked").glob("*/files.json")).write_text(content)
    assert store.bundle(manifest).artifact.files == bundle.artifact.files != ()


def test_gc_removes_what_was_unpacked_for_nobody(tmp_path: Path) -> None:
    store, manifest = store_model(tmp_path, ("weight.v1.tar", tar({"model.safetensors": b"weights"})))
    store.bundle(manifest)
    store.remove(store.find("m"))
    store.collect()
    assert list((tmp_path / "unpacked").iterdir()) == []


def test_a_hostile_archive_leaves_nothing(tmp_path: Path) -> None:
    store, manifest = store_model(tmp_path, ("weight.v1.tar", tar({"../escaped": b"weights"})))
    with pytest.raises(InvalidArtifact):
        store.bundle(manifest)
    assert not (tmp_path / "escaped").exists()
    assert not list((tmp_path / "unpacked").rglob("*escaped*"))


def test_of_two_who_unpack_at_once_the_first_one_stays(tmp_path: Path) -> None:
    """An engine may have opened what that one made."""
    store, manifest = store_model(tmp_path, ("weight.v1.tar", tar({"model.safetensors": b"weights"})))
    archive = store.artifact(manifest).archives[0]
    opened: list[BinaryIO] = []

    def fetch_late(blob: Descriptor) -> ByteSource:
        [(_, path)] = UnpackedArchives(tmp_path / "elsewhere").files(archive, store.layout.fetch)
        opened.append(path.open("rb"))
        return store.layout.fetch(blob)

    [(_, path)] = UnpackedArchives(tmp_path / "elsewhere").files(archive, fetch_late)
    with opened[0] as first:
        assert os.path.samestat(os.fstat(first.fileno()), path.stat())
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1

"""A served store under real clients: skopeo and oras-py push to it and pull from it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import oras.client
import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.distribution import serving
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index, Manifest
from mrpack.store.layout import OciLayout
from mrpack.store.store import Store
from tests.integration.skopeo import Skopeo

pytestmark = pytest.mark.registry

WEIGHTS = os.urandom(3 * 1024 * 1024)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "served")


@pytest.fixture
def address(store: Store) -> Iterator[str]:
    with serving(store.layout, writable=True) as address:
        yield address


@pytest.fixture
def model() -> MemoryTarget:
    """A GGUF model as Docker Model Runner packages it: under the reference `m`."""
    memory = MemoryTarget()
    config = memory.add("application/vnd.docker.ai.model.config.v0.1+json", b'{"config":{"format":"gguf"}}')
    layers = [
        memory.add("application/vnd.docker.ai.gguf.v3", WEIGHTS),
        memory.add("application/vnd.docker.ai.license", b"Apache"),
    ]
    manifest = Manifest.build(config=config, layers=layers)
    memory.push_manifest(manifest.descriptor, manifest.raw, "m")
    return memory


@pytest.fixture
def folder(model: MemoryTarget, tmp_path: Path) -> OciLayout:
    layout = OciLayout(tmp_path / "folder")
    copy(model, "m", layout, "v1")
    return layout


def test_skopeo_pushes_and_pulls_the_very_bytes(
    skopeo: Skopeo, store: Store, address: str, folder: OciLayout, tmp_path: Path
) -> None:
    digest = folder.resolve("v1").digest
    skopeo.copy(f"oci:{folder.root}:v1", f"docker://{address}/team/m:v1")
    assert store.find("localhost/team/m:v1").manifest.digest == digest
    assert store.verify(store.models()) == []
    skopeo.copy(f"docker://{address}/team/m@{digest}", f"oci:{tmp_path / 'back'}:v1")
    back = OciLayout(tmp_path / "back", create=False)
    assert back.resolve("v1").digest == digest
    for blob in (folder, back):
        manifest = Manifest.parse(blob.blobs.path(digest).read_bytes())
        assert blob.blobs.path(manifest.layers[0].digest).read_bytes() == WEIGHTS


def test_skopeo_pulls_models_of_the_store_by_their_path(
    skopeo: Skopeo, store: Store, model: MemoryTarget, address: str, tmp_path: Path
) -> None:
    copied = copy(model, "m", store.layout, "docker.io/ai/smollm2:latest")
    skopeo.copy(f"docker://{address}/ai/smollm2:latest", f"dir:{tmp_path / 'back'}")
    assert (tmp_path / "back" / "manifest.json").read_bytes() == store.layout.blobs.path(
        copied.digest
    ).read_bytes()


def test_skopeo_inspects_and_lists(skopeo: Skopeo, address: str, folder: OciLayout) -> None:
    for tag in ("v2", "v1"):
        skopeo.copy(f"oci:{folder.root}:v1", f"docker://{address}/team/m:{tag}")
    raw = skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{address}/team/m:v1")
    assert Manifest.parse(raw.encode()).descriptor.digest == folder.resolve("v1").digest
    listed = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{address}/team/m"))
    assert listed["Tags"] == ["v1", "v2"]


def test_skopeo_copies_from_repository_to_repository(
    skopeo: Skopeo, store: Store, address: str, folder: OciLayout
) -> None:
    skopeo.copy(f"oci:{folder.root}:v1", f"docker://{address}/team/m:v1")
    skopeo.copy(f"docker://{address}/team/m:v1", f"docker://{address}/other/n:v1")
    assert store.find("localhost/other/n:v1").manifest == store.find("localhost/team/m:v1").manifest


def test_skopeo_pushes_an_index_with_all_that_it_holds(
    skopeo: Skopeo, store: Store, model: MemoryTarget, address: str, tmp_path: Path
) -> None:
    child = model.resolve("m")
    with_platform = Descriptor(
        media_type=child.media_type,
        digest=child.digest,
        size=child.size,
        extra={"platform": {"architecture": "amd64", "os": "linux"}},
    )
    index = Index.build([with_platform])
    model.push_manifest(index.descriptor, index.raw, "i")
    layout = OciLayout(tmp_path / "folder")
    copy(model, "i", layout, "v1")
    skopeo.copy(f"oci:{layout.root}:v1", f"docker://{address}/team/i:v1", "--all")
    assert store.find("localhost/team/i:v1").manifest.digest == index.descriptor.digest
    assert [str(found.reference) for found in store.models()] == ["localhost/team/i:v1"]
    skopeo.copy(f"docker://{address}/team/i:v1", f"oci:{tmp_path / 'back'}:v1", "--all")
    assert OciLayout(tmp_path / "back").resolve("v1").digest == index.descriptor.digest


def test_skopeo_deletes_what_it_pushed(skopeo: Skopeo, store: Store, address: str, folder: OciLayout) -> None:
    skopeo.copy(f"oci:{folder.root}:v1", f"docker://{address}/team/m:v1")
    skopeo("delete", "--tls-verify=false", f"docker://{address}/team/m:v1")
    assert store.models() == []


@pytest.mark.parametrize("chunked", [False, True])
def test_oras_py_pushes_and_pulls(
    store: Store, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, chunked: bool
) -> None:
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "model.gguf").write_bytes(WEIGHTS)
    monkeypatch.chdir(tmp_path / "sent")
    client = oras.client.OrasClient(insecure=True)
    name = f"{address}/team/oras:v1"
    client.push(name, files=["model.gguf:application/vnd.docker.ai.gguf.v3"], do_chunked=chunked)
    assert [str(found.reference) for found in store.models()] == ["localhost/team/oras:v1"]
    assert store.verify(store.models()) == []
    [pulled] = client.pull(name, outdir=str(tmp_path / "got"))
    assert Path(pulled).read_bytes() == WEIGHTS
    assert client.get_tags(name) == ["v1"]

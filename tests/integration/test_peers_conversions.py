"""Artifacts that other tools made, brought on: pushed again as they are, and written anew in our dialects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mrpack.content.copy import copy as copy_content
from mrpack.content.memory import MemoryTarget
from mrpack.oci.encoding import encode
from mrpack.oci.manifest import Manifest
from mrpack.oci.mediatypes import OCI_EMPTY, OCI_MANIFEST
from mrpack.store.layout import OciLayout
from mrpack.verbs.local import resolve
from mrpack.verbs.package import PackageRequest, package
from mrpack.verbs.transfer import copy, pull
from tests.fakes.tiny_gguf import write_markov
from tests.fakes.tiny_safetensors import write_llama
from tests.integration.conftest import Registry
from tests.integration.test_peers_artifacts import OLOT, PUSH, base_layout, first, run
from tests.integration.test_round_trips import workspace_at

pytestmark = pytest.mark.registry

DIALECTS = ("docker", "cncf")
ORAS_PUSH = """
import oras.client, os, sys
os.chdir(sys.argv[2])
files = sorted(os.listdir("."))
oras.client.OrasClient(insecure=True).push(target=sys.argv[1], files=files)
"""
ORAS_PULL_AND_PUSH = """
import oras.client, os, sys
client = oras.client.OrasClient(insecure=True)
client.pull(target=sys.argv[1], outdir=sys.argv[3])
os.chdir(sys.argv[3])
files = [os.path.join(folder, name)[2:] for folder, _, names in os.walk(".") for name in names]
client.push(target=sys.argv[2], files=files)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that an engine opens."""
    return write_llama(tmp_path / "model", shards=2)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def by_oras(model: Path, registry: str, _folder: Path) -> str:
    run("oras", ORAS_PUSH, f"{registry}/conversions/oras:v1", model)
    return f"{registry}/conversions/oras:v1"


def by_modelpack_client(model: Path, registry: str, _folder: Path) -> str:
    name = f"{registry}/conversions/modelpack:v1"
    layers = [
        (str(path), f"{'weight' if path.suffix == '.safetensors' else 'weight.config'}.v1.raw", path.name)
        for path in sorted(model.iterdir())
    ]
    # It says of every model that it is GGUF.
    program = PUSH.replace('format="gguf"', 'format="safetensors"')
    run("modelpack_client", program, name, json.dumps(layers))
    return name


def by_olot(model: Path, _registry: str, folder: Path) -> str:
    root = base_layout(folder / "olot", platforms=False)
    run("olot", OLOT, root, model, "image")
    layout, descriptor = first(root)
    copy_content(layout, str(descriptor.digest), OciLayout(folder / "carried"), "example.com/olot/m:v1")
    return f"oci:{folder}/carried:example.com/olot/m:v1"


MADE: dict[str, Callable[[Path, str, Path], str]] = {
    "oras": by_oras,
    "modelpack-client": by_modelpack_client,
    "olot": by_olot,
}


@pytest.mark.parametrize("tool", MADE)
def test_it_is_pushed_again_as_it_is(
    model: Path, tool: str, anonymous_registry: Registry, tmp_path: Path
) -> None:
    made = MADE[tool](model, anonymous_registry.name, tmp_path)
    again = f"{anonymous_registry.name}/conversions/{tool}-again:v1"
    with workspace_at(tmp_path) as workspace:
        moved = copy(workspace, made, again)
        assert moved.digest == pull(workspace, again).digest
        assert contents(resolve(workspace, again).folder) == contents(model)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("tool", MADE)
def test_it_is_written_in_our_dialect_with_every_file(
    model: Path, tool: str, dialect: str, anonymous_registry: Registry, tmp_path: Path
) -> None:
    made = MADE[tool](model, anonymous_registry.name, tmp_path)
    ours = f"oci:{tmp_path}/ours:example.com/ours/m:v1"
    with workspace_at(tmp_path) as workspace:
        copy(workspace, made, ours, dialect=dialect)
        pulled = pull(workspace, ours)
        found = workspace.store.artifact(workspace.store.find(pulled.name).manifest)
        assert (found.dialect, found.config.format) == (dialect, "safetensors")
        assert contents(resolve(workspace, pulled.name).folder) == contents(model)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_oras_py_carries_the_files_of_ours_on(
    model: Path, dialect: str, anonymous_registry: Registry, tmp_path: Path
) -> None:
    """Pulled and pushed by it they are plain files, and still a model."""
    ours, theirs = (
        f"{anonymous_registry.name}/conversions/{name}-{dialect}:v1" for name in ("ours", "theirs")
    )
    with workspace_at(tmp_path) as workspace:
        package(workspace, PackageRequest(source=model, dialect=dialect), ours, push=True)
        run("oras", ORAS_PULL_AND_PUSH, ours, theirs, tmp_path / "carried")
        pulled = pull(workspace, theirs)
        assert workspace.store.artifact(workspace.store.find(pulled.name).manifest).dialect == "oras"
        assert contents(resolve(workspace, pulled.name).folder) == contents(model)


# RamaLama


RAMALAMA_READ = """
import json, sys
from ramalama.transports.oci import oci_artifact, spec
manifest = json.load(open(sys.argv[1]))
assert spec.is_cncf_artifact_manifest(manifest)
files = oci_artifact._build_snapshot_files(None, manifest)
json.dump({file.name: [file.digest, file.type.name] for file in files}, open(sys.argv[2], "w"))
"""
RAMALAMA_METADATA = """
import json, sys
from ramalama.transports.oci import spec
metadata = {path: spec.FileMetadata.from_path(path).to_json() for path in sys.argv[2:]}
json.dump(metadata, open(sys.argv[1], "w"))
"""


@pytest.mark.parametrize("source", ["gguf", "safetensors"])
def test_ramalamas_reader_finds_the_files_of_our_modelpack(model: Path, source: str, tmp_path: Path) -> None:
    path = write_markov(tmp_path) if source == "gguf" else model
    with workspace_at(tmp_path) as workspace:
        made = package(workspace, PackageRequest(source=path, dialect="cncf"), "m:v1")
    (tmp_path / "manifest.json").write_bytes(made.manifest.raw)
    run("ramalama", RAMALAMA_READ, tmp_path / "manifest.json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert {name: digest for name, (digest, _) in found.items()} == {
        layer.path: str(written.digest)
        for layer, written in zip(made.layers, made.manifest.layers, strict=True)
    }
    kinds = {kind for name, (_, kind) in found.items() if Path(name).suffix in {".gguf", ".safetensors"}}
    assert kinds == {"GGUFModel" if source == "gguf" else "SafetensorModel"}


def test_an_artifact_with_ramalamas_annotations_is_written_in_our_dialect(
    model: Path, tmp_path: Path
) -> None:
    """Podman puts it together from these annotations, with an empty config."""
    paths = sorted(model.iterdir())
    run("ramalama", RAMALAMA_METADATA, tmp_path / "metadata.json", *paths)
    metadata = json.loads((tmp_path / "metadata.json").read_text())
    memory = MemoryTarget()
    layers = []
    for path in paths:
        blob = memory.add("application/octet-stream", path.read_bytes())
        annotations = {
            "org.cncf.model.filepath": path.name,
            "org.cncf.model.file.metadata+json": metadata[str(path)],
            "org.cncf.model.file.mediatype.untested": "true",
            "org.opencontainers.image.title": path.name,
        }
        layers.append(blob.with_annotations(annotations).to_json())
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": memory.add(OCI_EMPTY, b"{}").to_json(),
        "layers": layers,
    }
    manifest = Manifest.parse(encode(document))
    memory.push_manifest(manifest.descriptor, manifest.raw, "v1")
    copy_content(memory, "v1", OciLayout(tmp_path / "layout"), "v1")
    ours = f"oci:{tmp_path}/ours:example.com/ours/m:v1"
    with workspace_at(tmp_path) as workspace:
        copy(workspace, f"oci:{tmp_path}/layout:v1", ours, dialect="docker")
        pulled = pull(workspace, ours)
        assert contents(resolve(workspace, pulled.name).folder) == contents(model)

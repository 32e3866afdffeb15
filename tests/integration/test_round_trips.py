"""Every format, in every dialect, through every kind of place, and carried on by the programs of others.

What goes in comes out: the digest that packaging gave, and every byte of every file that an engine opens.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mrpack.distribution import serving
from mrpack.environment import Settings
from mrpack.formats.dduf import write_dduf
from mrpack.oci.reference import Reference
from mrpack.packing.extras import Extras
from mrpack.packing.plan import Wishes
from mrpack.packing.walk import Choice, walk
from mrpack.readable import open_file
from mrpack.store.layout import OciLayout
from mrpack.verbs.inspect import Inspected, inspect_remote
from mrpack.verbs.local import resolve
from mrpack.verbs.package import PackageRequest, package
from mrpack.verbs.transfer import copy, pull
from mrpack.workspace import Workspace
from tests.fakes.tiny_gguf import write_lora, write_markov, write_mmproj, write_sharded
from tests.fakes.tiny_safetensors import write_files, write_flux, write_llama, write_stable_diffusion
from tests.integration.conftest import Registry
from tests.integration.skopeo import Skopeo

pytestmark = pytest.mark.registry

DIALECTS = ("docker", "cncf")


@dataclass(frozen=True)
class Model:
    """`source` and `extras` are packaged; `files` is what must come out, path by path."""

    source: Path
    files: dict[str, Path]
    extras: Extras = field(default_factory=Extras)

    @classmethod
    def of(cls, *files: Path, extras: Extras | None = None) -> Model:
        return cls(files[0], {file.name: file for file in files}, extras or Extras())

    @classmethod
    def folder(cls, folder: Path) -> Model:
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        return cls(folder, files)


def gguf_with_company(folder: Path) -> Model:
    mmproj, lora = write_mmproj(folder), write_lora(folder)
    license_file = folder / "LICENSE"
    license_file.write_text("MIT License")
    extras = Extras(licenses=(license_file,), mmproj=mmproj, adapters=(lora,))
    return Model.of(write_markov(folder), mmproj, lora, license_file, extras=extras)


def nested(folder: Path) -> Model:
    write_llama(folder / "model")
    more = {
        "onnx-config/a/b/c.json": {"deep": True},
        "1_Pooling/config.json": {"dimension": 64},
        "empty.txt": "",
    }
    return Model.folder(write_files(folder / "model", more))


def dduf(folder: Path) -> Model:
    pipeline = write_stable_diffusion(folder / "pipeline")
    path = folder / "pipeline.dduf"
    write_dduf([open_file(file, name) for name, file in walk(pipeline, Choice())], path)
    return Model.of(path)


MODELS: dict[str, Callable[[Path], Model]] = {
    "gguf": lambda folder: Model.of(write_markov(folder)),
    "gguf-sharded": lambda folder: Model.of(*write_sharded(folder)),
    "gguf-mmproj-lora": gguf_with_company,
    "safetensors": lambda folder: Model.folder(write_llama(folder / "model")),
    "safetensors-sharded": lambda folder: Model.folder(write_llama(folder / "model", shards=3)),
    "safetensors-nested": nested,
    "dduf": dduf,
    "diffusers": lambda folder: Model.folder(write_flux(folder / "model")),
}


@dataclass(frozen=True)
class Packed:
    """The model in a store: in `docker` as m:v1, in `cncf` as the second manifest over the same layers."""

    model: Model
    workspace: Workspace
    digests: dict[str, str]

    def place(self, dialect: str) -> str:
        return f"oci:{self.workspace.store.layout.root}:docker.io/ai/{self.name(dialect)}"

    @staticmethod
    def name(dialect: str) -> str:
        return {"docker": "m:v1", "cncf": "m:v1-cncf"}[dialect]


def workspace_at(folder: Path) -> Workspace:
    """Empty."""
    return Workspace(
        Settings(home=folder / "home", config_home=folder / "config", docker_config=folder / "docker")
    )


@pytest.fixture(scope="module", params=MODELS)
def packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Packed]:
    folder = tmp_path_factory.mktemp(request.param)
    model = MODELS[request.param](folder)
    workspace = workspace_at(folder)
    wanted = PackageRequest(source=model.source, wishes=Wishes(extras=model.extras), also="cncf")
    done = package(workspace, wanted, "m:v1")
    assert done.also is not None
    digests = {"docker": done.manifest.descriptor.digest, "cncf": done.also[1].descriptor.digest}
    with workspace:
        yield Packed(model, workspace, {dialect: str(digest) for dialect, digest in digests.items()})


# What gives a place its name there: one that ends in a full reference is pulled under it.

Opened = AbstractContextManager[str]


@contextlib.contextmanager
def in_a_layout(folder: Path, _registry: Registry, name: str) -> Iterator[str]:
    yield f"oci:{folder}/layout:example.com/{name}"


@contextlib.contextmanager
def in_an_archive(folder: Path, _registry: Registry, name: str) -> Iterator[str]:
    yield f"oci-archive:{folder}/model.tar:example.com/{name}"


@contextlib.contextmanager
def in_docker_registry(_folder: Path, registry: Registry, name: str) -> Iterator[str]:
    yield f"{registry.name}/{name}"


@contextlib.contextmanager
def in_our_registry(folder: Path, _registry: Registry, name: str) -> Iterator[str]:
    with serving(OciLayout(folder / "served"), writable=True) as address:
        yield f"{address}/{name}"


PLACES: dict[str, Callable[[Path, Registry, str], Opened]] = {
    "layout": in_a_layout,
    "archive": in_an_archive,
    "docker-registry": in_docker_registry,
    "registry serve": in_our_registry,
}


def comes_out(packed: Packed, dialect: str, place: str, folder: Path) -> None:
    """Pulled from `place` into an empty store, it is what was packaged."""
    with workspace_at(folder / "elsewhere") as workspace:
        pulled = pull(workspace, place)
        assert str(pulled.digest) == packed.digests[dialect]
        same_files(workspace, pulled.name, packed.model)


def same_files(workspace: Workspace, name: str, model: Model) -> None:
    bundle = resolve(workspace, name)
    found = {
        path.relative_to(bundle.folder).as_posix(): path.read_bytes()
        for path in bundle.folder.rglob("*")
        if path.is_file()
    }
    assert found == {name: path.read_bytes() for name, path in model.files.items()}


@pytest.fixture
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of its own for each test, in the registry that all share."""
    return re.sub("[^a-z0-9]+", "-", f"trips/{request.node.name}-{tmp_path.name}".lower()).strip("-") + ":v1"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_store_gives_back_what_was_packaged(packed: Packed, dialect: str) -> None:
    same_files(packed.workspace, packed.name(dialect), packed.model)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("place", PLACES)
def test_every_place_gives_back_what_was_packaged(
    packed: Packed, dialect: str, place: str, anonymous_registry: Registry, repository: str, tmp_path: Path
) -> None:
    with PLACES[place](tmp_path, anonymous_registry, repository) as name:
        assert str(copy(packed.workspace, packed.place(dialect), name).digest) == packed.digests[dialect]
        comes_out(packed, dialect, name, tmp_path)


def test_both_dialects_have_the_same_layers(packed: Packed) -> None:
    store = packed.workspace.store
    layers = [
        store.artifact(store.find(packed.name(dialect)).manifest).manifest.layers for dialect in DIALECTS
    ]
    docker, cncf = ({layer.digest for layer in found} for found in layers)
    assert docker == cncf


def test_the_second_dialect_is_what_a_copy_into_it_gives(packed: Packed, tmp_path: Path) -> None:
    there = f"oci:{tmp_path}/layout:example.com/a/m:v1"
    copied = copy(packed.workspace, packed.place("docker"), there, dialect="cncf")
    assert str(copied.digest) == packed.digests["cncf"]


def test_a_copy_into_the_first_dialect_and_back_changes_nothing(packed: Packed, tmp_path: Path) -> None:
    """ModelPack's config says less: what it says comes back, and so does every file."""
    there, back = (f"oci:{tmp_path}/layout:example.com/a/m:{tag}" for tag in ("there", "back"))
    copy(packed.workspace, packed.place("cncf"), there, dialect="docker")
    assert str(copy(packed.workspace, there, back, dialect="cncf").digest) == packed.digests["cncf"]
    known, found = (inspect_remote(packed.workspace, place) for place in (packed.place("docker"), there))
    assert labels(found) == labels(known)
    assert found.artifact.manifest.layers == known.artifact.manifest.layers
    workspace = workspace_at(tmp_path / "elsewhere")
    same_files(workspace, pull(workspace, there).name, packed.model)


def labels(inspected: Inspected) -> tuple[object, ...]:
    config, manifest = inspected.artifact.config, inspected.artifact.manifest
    return (
        config.format,
        config.architecture,
        config.parameters,
        config.quantization,
        manifest.config.media_type,
    )


# Carriers: programs of others between the two ends.


@pytest.mark.parametrize("dialect", DIALECTS)
def test_skopeo_carries_it_from_registry_to_layout_to_registry(
    packed: Packed,
    dialect: str,
    anonymous_registry: Registry,
    repository: str,
    skopeo: Skopeo,
    tmp_path: Path,
) -> None:
    first = f"{anonymous_registry.name}/{repository}"
    second = str(Reference.parse(first).with_tag("v2"))
    copy(packed.workspace, packed.place(dialect), first)
    layout = f"oci:{tmp_path}/carried:v1"
    skopeo.copy(f"docker://{first}", layout)
    skopeo.copy(layout, f"docker://{second}")
    comes_out(packed, dialect, second, tmp_path)


# In a process of its own: it has warnings of its own.
ORAS_PULL = """
import oras.client, sys
oras.client.OrasClient(insecure=True).pull(target=sys.argv[1], outdir=sys.argv[2])
"""


@pytest.mark.parametrize("dialect", DIALECTS)
def test_oras_py_pulls_the_files_under_their_names(
    packed: Packed, dialect: str, anonymous_registry: Registry, repository: str, tmp_path: Path
) -> None:
    name = f"{anonymous_registry.name}/{repository}"
    copy(packed.workspace, packed.place(dialect), name)
    out = tmp_path / "out"
    subprocess.run([sys.executable, "-c", ORAS_PULL, name, str(out)], check=True, capture_output=True)
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert found == {name: path.read_bytes() for name, path in packed.model.files.items()}

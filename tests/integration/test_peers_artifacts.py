"""Artifacts made by the programs of others, read file by file; and ours, pulled by theirs."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mrpack.content.copy import copy
from mrpack.content.documents import read_document
from mrpack.content.memory import MemoryTarget
from mrpack.content.ports import Fetcher
from mrpack.digest import Digest, read_verified
from mrpack.errors import IntegrityError
from mrpack.model.artifact import HashedLayer, ModelArtifact
from mrpack.model.config import ModelConfig
from mrpack.model.dialects import read_artifact
from mrpack.model.dialects.modelpack import MODELPACK
from mrpack.model.indexes import choose_manifest
from mrpack.model.layer import ArtifactFile, FileMetadata, LayerRole
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import CONFIG_LIMIT
from mrpack.oci.manifest import Index
from mrpack.oci.mediatypes import OCI_MANIFEST, OCTET_STREAM
from mrpack.registry import RegistryTarget
from mrpack.store.layout import OciLayout
from mrpack.store.untar import unpack
from tests.integration.conftest import Registry

pytestmark = pytest.mark.registry

GGUF = b"GGUF\3\0\0\0" + bytes(range(256)) * 400
FILES = {
    "model.gguf": GGUF,
    "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
    "te/tokenizer.json": b"{}" * 5000,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model as files."""
    root = tmp_path / "source"
    for path, content in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    (root / "README.md").write_text("# A card")
    return root


def run(package: str, program: str, *arguments: str | Path) -> None:
    """`program` is Python: peers run in a process of their own, with warnings of their own."""
    pytest.importorskip(package)
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=True)


def read_config(source: Fetcher, config: Descriptor) -> bytes:
    with contextlib.closing(source.fetch(config)) as stream:
        return read_verified(stream, config.digest, config.size, limit=CONFIG_LIMIT)


def read_model(source: Any, root: Descriptor) -> ModelArtifact:
    _, document = read_document(source, root)
    if isinstance(document, Index):
        _, document = read_document(source, choose_manifest(document, "test"))
    assert not isinstance(document, Index)
    return read_artifact(document, read_config(source, document.config))


def contents(
    source: Fetcher, artifact: ModelArtifact, target: Path
) -> tuple[ModelArtifact, dict[str, bytes]]:
    """The complete artifact, and the content of each of its files."""
    found: dict[str, bytes] = {}
    unpacked: list[ArtifactFile] = []
    for archive in artifact.archives:
        unpacked += unpack(archive, source.fetch(archive.descriptor), target)
    found = {file.path: (target / file.path).read_bytes() for file in unpacked}
    for file in artifact.files:
        with contextlib.closing(source.fetch(file.descriptor)) as stream:
            size = file.descriptor.size
            found[file.path] = read_verified(stream, file.descriptor.digest, size, limit=size)
    complete = artifact.with_unpacked(unpacked)
    for file in complete.files:
        assert Digest.of(found[file.path]) == file.descriptor.digest
    return complete, found


@pytest.fixture
def target(request: pytest.FixtureRequest, anonymous_registry: Registry) -> Iterator[RegistryTarget]:
    """A repository of its own for each test."""
    name = f"peers/{re.sub('[^a-z0-9]+', '-', request.node.name.lower()).strip('-')}-{os.getpid()}"
    with anonymous_registry.session() as session:
        yield RegistryTarget(session, anonymous_registry.name, name)


# olot


def base_layout(root: Path, *, platforms: bool) -> Path:
    """A small image, as skopeo would bring it: an operating system that no reader of models wants."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, kind, target in [
            ("etc", tarfile.DIRTYPE, ""),
            ("etc/mtab", tarfile.SYMTYPE, "/proc/mounts"),
            ("dev/null", tarfile.CHRTYPE, ""),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    layout = OciLayout(root)
    memory = MemoryTarget()
    layer = memory.add("application/vnd.oci.image.layer.v1.tar+gzip", gzip.compress(tar.getvalue()))
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(tar.getvalue()))]},
            "history": [{"created_by": "test"}],
        }
    ).encode()
    described = memory.add("application/vnd.oci.image.config.v1+json", config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described.to_json(),
        "layers": [layer.to_json()],
    }
    raw = json.dumps(manifest).encode()
    image = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(raw), size=len(raw))
    memory.push_manifest(image, raw, "image")
    if platforms:
        placed = Descriptor(
            media_type=OCI_MANIFEST,
            digest=image.digest,
            size=image.size,
            extra={"platform": {"architecture": "amd64", "os": "linux"}},
        )
        index = Index.build([placed])
        memory.push_manifest(index.descriptor, index.raw, "image")
    copy(memory, "image", layout, "latest")
    for path in (root / "blobs" / "sha256").iterdir():
        path.chmod(0o644)  # olot edits documents in place
    return root


OLOT = """
import olot.basics, sys
from pathlib import Path
layout, root, modelpack = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "modelpack"
files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "README.md"]
olot.basics.oci_layers_on_top(layout, files, root / "README.md", root_dir=root, add_modelpack=modelpack)
"""


def first(root: Path) -> tuple[OciLayout, Descriptor]:
    layout = OciLayout(root, create=False)
    return layout, layout.index().manifests[0].plain()


@pytest.mark.parametrize("kind", ["image", "modelpack"])
def test_images_of_olot(tmp_path: Path, folder: Path, kind: str) -> None:
    root = base_layout(tmp_path / "layout", platforms=kind == "modelpack")
    run("olot", OLOT, root, folder, kind)
    layout, descriptor = first(root)
    artifact = read_model(layout, descriptor)
    assert artifact.dialect == ("modelcar" if kind == "image" else "cncf")
    complete, found = contents(layout, artifact, tmp_path / "out")
    if kind == "image":
        assert found == {**FILES, "README.md": b"# A card"}
    else:
        # Its ModelPack manifest has file names without folders.
        names = {Path(path).name: content for path, content in FILES.items()}
        assert found == {**names, "README.md": b"# A card"}
    assert complete.config.format == "gguf"
    assert [file.path for file in complete.with_role(LayerRole.WEIGHTS)] == ["model.gguf"]


OLOT_ARTIFACT = """
import olot.oci_artifact, sys
from pathlib import Path
getattr(olot.oci_artifact, sys.argv[1])(Path(sys.argv[2]), Path(sys.argv[3]))
"""


def olot_artifact(function: str, folder: Path, root: Path) -> tuple[OciLayout, Descriptor]:
    root.mkdir()
    run("olot", OLOT_ARTIFACT, function, folder, root)
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')  # one function writes it otherwise
    return first(root)


def test_artifacts_of_olot(tmp_path: Path, folder: Path) -> None:
    layout, descriptor = olot_artifact("create_simple_oci_artifact", folder, tmp_path / "layout")
    _, found = contents(layout, read_model(layout, descriptor), tmp_path / "out")
    assert found == {**FILES, "README.md": b"# A card"}


def test_artifacts_of_olot_that_announce_wrong_sizes_are_refused(tmp_path: Path, folder: Path) -> None:
    """Its descriptors have types and sizes of files, its blobs are archives of them (olot 1.2.1)."""
    layout, descriptor = olot_artifact("create_oci_artifact_from_model", folder, tmp_path / "layout")
    artifact = read_model(layout, descriptor)
    assert {file.path for file in artifact.files} == {"model.gguf", "config.json", "README.md"}
    with pytest.raises(IntegrityError):
        contents(layout, artifact, tmp_path / "out")


# modelpack-client

PUSH = """
import json, sys
from modelpack_client import ModelLayer, ModelPackClient, ModelPackConfig, ModelTechnicalConfig
reference, layers = sys.argv[1], json.loads(sys.argv[2])
config = ModelPackConfig(config=ModelTechnicalConfig(format="gguf", param_size="1B", architecture="llama"))
ModelPackClient(insecure=True).push(
    reference,
    [ModelLayer(path, media_type="application/vnd.cncf.model." + kind, artifact_path=name)
     for path, kind, name in layers],
    config,
)
"""
PULL = """
import modelpack_client, sys
modelpack_client.ModelPackClient(insecure=True).pull(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("packing", ["raw", "tar", "tar+gzip", "tar+zstd"])
def test_artifacts_of_modelpack_client(
    tmp_path: Path, folder: Path, target: RegistryTarget, packing: str
) -> None:
    if packing == "tar+zstd":
        pytest.importorskip("zstandard")
    layers = [
        (str(folder / "model.gguf"), "weight.v1.raw", "model.gguf"),
        (str(folder / "config.json"), "weight.config.v1.raw", "config.json"),
        (str(folder / "te"), f"weight.config.v1.{packing}", "te"),
        (str(folder / "README.md"), "doc.v1.raw", "README.md"),
    ]
    run("modelpack_client", PUSH, f"{target.name}:v1", json.dumps(layers))
    artifact = read_model(target, target.resolve("v1"))
    assert artifact.dialect == "cncf"
    assert (artifact.config.format, artifact.config.parameters) == ("gguf", "1B")
    complete, found = contents(target, artifact, tmp_path / "out")
    assert found == {**FILES, "README.md": b"# A card"}
    assert {file.path: file.role for file in complete.files} == {
        "model.gguf": LayerRole.WEIGHTS,
        "config.json": LayerRole.CONFIG,
        "te/tokenizer.json": LayerRole.CONFIG,
        "README.md": LayerRole.DOC,
    }


def test_our_modelpack_is_pulled_by_modelpack_client(tmp_path: Path, target: RegistryTarget) -> None:
    memory = MemoryTarget()
    layers = []
    for path, content in FILES.items():
        metadata = FileMetadata(name=Path(path).name, mode=0o644, mtime_ns=0, size=len(content))
        role = LayerRole.WEIGHTS if path.endswith(".gguf") else LayerRole.CONFIG
        described = memory.add(OCTET_STREAM, content)
        layers.append(HashedLayer(path=path, role=role, format="", metadata=metadata, content=described))
    said = ModelConfig(format="gguf", parameters="1B", architecture="llama", created="1970-01-01T00:00:00Z")
    config, manifest = MODELPACK.write(said, layers, folder=True)
    memory.add(manifest.config.media_type, config)
    memory.push_manifest(manifest.descriptor, manifest.raw, "ours")
    copy(memory, "ours", target, "v1")
    run("modelpack_client", PULL, f"{target.name}:v1", tmp_path / "out")
    found = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == FILES


# oras-py


def test_files_and_folders_of_oras_py(tmp_path: Path, folder: Path, target: RegistryTarget) -> None:
    program = """
import oras.client, os, sys
os.chdir(sys.argv[2])
client = oras.client.OrasClient(insecure=True)
client.push(target=sys.argv[1], files=["model.gguf", "config.json", "te"], disable_path_validation=True)
"""
    run("oras", program, f"{target.name}:v1", folder)
    artifact = read_model(target, target.resolve("v1"))
    assert artifact.dialect == "oras"
    complete, found = contents(target, artifact, tmp_path / "out")
    assert found == FILES
    assert [file.path for file in complete.with_role(LayerRole.WEIGHTS)] == ["model.gguf"]

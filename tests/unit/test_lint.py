"""What `lint` finds: each rule by an artifact that breaks it, and nothing in what our writers write."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mrpack.digest import Digest
from mrpack.errors import NotFound
from mrpack.lint import lint_artifact, lint_files
from mrpack.lint.rules import RULES
from mrpack.model.annotations import FILEPATH, METADATA
from mrpack.model.artifact import HashedLayer
from mrpack.model.config import ModelConfig
from mrpack.model.dialects import WRITERS
from mrpack.model.layer import FileMetadata, LayerRole
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import CONFIG_LIMIT, encode
from tests.fakes.tiny_gguf import write_markov, write_mmproj, write_sharded
from tests.fakes.tiny_safetensors import write_llama, write_stable_diffusion

ROOT = Path(__file__).parents[2]
CONFIG = ModelConfig(format="gguf", created="2025-01-02T03:04:05Z", context_size=4096)
SETTINGS = b'{"context_size":4096,"sampling":{"top_p":0.5}}'
FILES = (
    ("m-00001-of-00002.gguf", LayerRole.WEIGHTS, "gguf", b"one"),
    ("m-00002-of-00002.gguf", LayerRole.WEIGHTS, "gguf", b"two"),
    ("LICENSE", LayerRole.LICENSE, "", b"free\n"),
    ("mrpack.json", LayerRole.OVERRIDES, "", SETTINGS),
)


@dataclass
class Artifact:
    """Documents that a test may change; the manifest follows its config and its layers."""

    manifest: dict[str, Any]
    config: dict[str, Any]
    blobs: dict[Digest, bytes] = field(default_factory=dict)

    @classmethod
    def write(
        cls, dialect: str = "docker", config: ModelConfig = CONFIG, *, folder: bool = False
    ) -> Artifact:
        layers = []
        blobs = {}
        for path, role, format_, content in FILES:
            metadata = FileMetadata(name=path, mode=0o644, mtime_ns=0, size=len(content))
            described = Descriptor(media_type="a/b", digest=Digest.of(content), size=len(content))
            blobs[described.digest] = content
            layers.append(
                HashedLayer(path=path, role=role, format=format_, metadata=metadata, content=described)
            )
        raw, manifest = WRITERS[dialect].write(config, layers, folder=folder)
        return cls(json.loads(manifest.raw), json.loads(raw), blobs)

    def replace_layer(self, number: int, content: bytes) -> None:
        digest = Digest.of(content)
        self.blobs[digest] = content
        layer = self.manifest["layers"][number]
        layer |= {"digest": str(digest), "size": len(content)}
        metadata = json.loads(layer["annotations"][METADATA])
        layer["annotations"][METADATA] = json.dumps({**metadata, "size": len(content)})
        self.config["rootfs"]["diff_ids"][number] = str(digest)

    def lint(self) -> set[tuple[str, str, str]]:
        """Document, key and rule of each finding."""
        config = encode(self.config)
        digest = Digest.of(config)
        self.blobs[digest] = config
        described = self.manifest["config"]
        if described.get("size", 0) <= CONFIG_LIMIT:
            described |= {"digest": str(digest), "size": len(config)}
        findings = lint_artifact(encode(self.manifest), self.read)
        assert all("\n" not in str(finding) and finding.message for finding in findings)
        return {(finding.document, finding.where, finding.rule) for finding in findings}

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        assert descriptor.size <= limit
        return self.blobs[descriptor.digest]


@pytest.mark.parametrize("dialect", WRITERS)
@pytest.mark.parametrize("folder", [False, True])
def test_what_our_writers_write_is_clean(dialect: str, folder: bool) -> None:
    assert Artifact.write(dialect, folder=folder).lint() == set()


def metadata(artifact: Artifact, number: int, **changes: Any) -> None:
    annotations = artifact.manifest["layers"][number]["annotations"]
    annotations[METADATA] = json.dumps({**json.loads(annotations[METADATA]), **changes})


def rename(artifact: Artifact, number: int, path: str) -> None:
    artifact.manifest["layers"][number]["annotations"][FILEPATH] = path
    metadata(artifact, number, name=path.rpartition("/")[2])


def swap(items: list[Any]) -> None:
    items[0], items[1] = items[1], items[0]


def swap_shards(artifact: Artifact) -> None:
    swap(artifact.manifest["layers"])
    swap(artifact.config["rootfs"]["diff_ids"])


def drop_weights(artifact: Artifact) -> None:
    del artifact.manifest["layers"][:2]
    del artifact.config["rootfs"]["diff_ids"][:2]


BROKEN: list[tuple[Callable[[Artifact], object], tuple[str, str, str]]] = [
    (lambda a: a.manifest.pop("mediaType"), ("manifest", "", "schema:oci-manifest")),
    (lambda a: a.manifest.update(extra=1), ("manifest", "", "schema:oci-manifest")),
    (
        lambda a: a.manifest["layers"][1].update(size=-1),
        ("manifest", "layers[1].size", "schema:oci-manifest"),
    ),
    (
        lambda a: a.manifest["layers"][0]["annotations"].update(x=1),
        ("manifest", "layers[0].annotations.x", "schema:oci-manifest"),
    ),
    (lambda a: a.manifest.update(manifests=[]), ("manifest", "", "schema:oci-manifest")),
    (
        lambda a: a.manifest["config"].update(mediaType="application/x"),
        ("manifest", "config.mediaType", "dialect"),
    ),
    (
        lambda a: a.manifest["config"].update(size=CONFIG_LIMIT + 1),
        ("manifest", "config.size", "config-size"),
    ),
    (lambda a: a.config.pop("rootfs"), ("config", "", "schema:docker-config")),
    (
        lambda a: a.config["config"].update(context_size="many"),
        ("config", "config.context_size", "schema:docker-config"),
    ),
    (
        lambda a: a.config["descriptor"].update(created="2025-13-01T00:00:00Z"),
        ("config", "descriptor.created", "readable"),
    ),
    (lambda a: swap(a.config["rootfs"]["diff_ids"]), ("config", "rootfs.diff_ids", "readable")),
    (lambda a: a.config["rootfs"]["diff_ids"].pop(), ("config", "rootfs.diff_ids", "readable")),
    (lambda a: a.config["config"].update(format="dduf"), ("config", "config.format", "format")),
    (lambda a: a.config["config"].update(context_size=0), ("config", "config.context_size", "context-size")),
    (
        lambda a: a.config["config"].update(context_size=1024),
        ("config", "config.context_size", "context-size"),
    ),
    (swap_shards, ("manifest", "layers", "shard-order")),
    (lambda a: rename(a, 0, "m-00003-of-00002.gguf"), ("manifest", "layers", "shard-order")),
    (drop_weights, ("manifest", "layers", "weights")),
    (
        lambda a: a.manifest["layers"][2].update(mediaType="application/vnd.docker.ai.unheard.of"),
        ("manifest", "layers[2].mediaType", "layer-types"),
    ),
    (lambda a: a.manifest.update(artifactType="application/x"), ("manifest", "artifactType", "layer-types")),
    (
        lambda a: a.manifest["layers"][2].update(mediaType="application/vnd.docker.ai.dir.tar"),
        ("manifest", "layers[2].mediaType", "archives"),
    ),
    (lambda a: rename(a, 2, "docs/LICENSE"), ("manifest", "config.mediaType", "layout")),
    (
        lambda a: rename(a, 2, "../LICENSE"),
        ("manifest", f"layers[2].annotations[{FILEPATH}]", "filepath"),
    ),
    (lambda a: rename(a, 2, "MRPACK.json"), ("manifest", "layers", "paths")),
    (
        lambda a: a.manifest["layers"][2].pop("annotations"),
        ("manifest", "layers[2].annotations", "annotations"),
    ),
    (
        lambda a: metadata(a, 2, size=1),
        ("manifest", f"layers[2].annotations[{METADATA}].size", "file-metadata"),
    ),
    (
        lambda a: metadata(a, 2, name="COPYING"),
        ("manifest", f"layers[2].annotations[{METADATA}].name", "file-metadata"),
    ),
    (
        lambda a: metadata(a, 2, mode="0644"),
        ("manifest", f"layers[2].annotations[{METADATA}].mode", "schema:file-metadata"),
    ),
    (
        lambda a: a.manifest["layers"][2]["annotations"].update({METADATA: "{"}),
        ("manifest", f"layers[2].annotations[{METADATA}]", "file-metadata"),
    ),
    (
        lambda a: a.replace_layer(3, b'{"sampling":{"top_p":2}}'),
        ("mrpack.json", "sampling.top_p", "schema:overrides"),
    ),
    (lambda a: a.replace_layer(3, b'{"host":"0.0.0.0"}'), ("mrpack.json", "", "schema:overrides")),
    (lambda a: a.replace_layer(3, b"{"), ("mrpack.json", "", "overrides")),
    (lambda a: a.replace_layer(3, b" " * 70_000 + b"{}"), ("mrpack.json", "", "overrides")),
]


@pytest.mark.parametrize(("change", "finding"), BROKEN, ids=[finding[2] for _, finding in BROKEN])
def test_each_rule_names_document_and_key(
    change: Callable[[Artifact], object], finding: tuple[str, str, str]
) -> None:
    artifact = Artifact.write()
    change(artifact)
    assert finding in artifact.lint()


def test_the_other_dialect_has_rules_of_its_own() -> None:
    artifact = Artifact.write("cncf")
    artifact.manifest.pop("artifactType")
    artifact.config["mrpack"] = {}
    artifact.config["modelfs"]["diffIds"].pop()
    assert artifact.lint() == {
        ("manifest", "artifactType", "layer-types"),
        ("config", "", "schema:modelpack-config"),
        ("config", "modelfs.diffIds", "diff-ids"),
    }


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"a":1,"a":2}', b"\xff"])
def test_a_manifest_that_is_no_json_object_is_one_finding(raw: bytes) -> None:
    (finding,) = lint_artifact(raw, Artifact.write().read)
    assert (finding.document, finding.rule) == ("manifest", "json")


def test_every_rule_is_documented_and_reached() -> None:
    names = {finding[2] for _, finding in BROKEN}
    # Of a Docker config the reader itself refuses them; the other dialect's test is above.
    names |= {"diff-ids"}
    assert {rule.name for rule in RULES} <= names
    text = (ROOT / "docs/lint.md").read_text()
    for name in names | {"code", "package", "json", "index"}:
        assert f"`{name}`" in text or f"`{name.partition(':')[0]}:" in text, name


def findings_in(source: Path) -> list[tuple[str, str]]:
    return [(finding.document, finding.rule) for finding in lint_files(source)]


def test_files_that_can_be_packaged_are_clean(tmp_path: Path) -> None:
    assert findings_in(write_markov(tmp_path)) == []
    assert findings_in(write_sharded(tmp_path)[1]) == []
    assert findings_in(write_llama(tmp_path / "llama", shards=2)) == []
    assert findings_in(write_stable_diffusion(tmp_path / "sd")) == []


def test_all_that_a_folder_is_refused_for_is_said_at_once(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "llama", shards=2)
    (folder / "modeling.py").write_text("import os\n")
    (folder / "old").mkdir()
    (folder / "old" / "weights.pt").write_bytes(b"\x80\x02.")
    (folder / "a:b.txt").write_text("x")
    (folder / "model-00002-of-00002.safetensors").unlink()
    found = findings_in(folder)
    assert found[:3] == [("a:b.txt", "filepath"), ("modeling.py", "code"), ("old/weights.pt", "code")]
    assert found[3][1] == "package"
    assert "model-00002-of-00002.safetensors" in str(lint_files(folder)[3])


def test_what_is_no_model_is_one_finding(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03")
    assert findings_in(tmp_path / "notes.txt") == [(str(tmp_path / "notes.txt"), "package")]
    assert [rule for _, rule in findings_in(tmp_path / "cut.gguf")] == ["package"]
    assert [rule for _, rule in findings_in(write_mmproj(tmp_path))] == ["package"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert findings_in(empty) == [(str(empty), "package")]


def test_a_config_that_cannot_be_read_is_an_error_of_its_source() -> None:
    artifact = Artifact.write()

    def read(descriptor: Descriptor, _limit: int) -> bytes:
        raise NotFound(f"no {descriptor.digest}")

    with pytest.raises(NotFound):
        lint_artifact(encode(artifact.manifest), read)

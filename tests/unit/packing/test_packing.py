"""From files to plans: what is taken, in which order, what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mrpack.content.memory import MemoryTarget
from mrpack.digest import Digest
from mrpack.errors import HostRefused, InvalidArtifact, NotFound, UsageError
from mrpack.model.dialects import read_artifact
from mrpack.model.dialects.docker import CONFIG_FOLDER, DOCKER
from mrpack.model.dialects.modelpack import MODELPACK
from mrpack.model.layer import LayerRole
from mrpack.model.overrides import Overrides, parse_overrides, parse_setting
from mrpack.oci.descriptor import Descriptor
from mrpack.packing.pack import PackedArtifact, pack
from mrpack.packing.plan import Extras, Wishes
from mrpack.packing.plan_stored import plan_stored
from mrpack.packing.sources import PLANNERS, detect
from mrpack.packing.walk import Choice, walk
from tests.fakes.tiny_gguf import write_lora, write_markov, write_mmproj, write_sharded
from tests.fakes.tiny_safetensors import write_qwen2


def names(folder: Path, **choice: tuple[str, ...]) -> list[str]:
    return [path for path, _ in walk(folder, Choice(**choice))]


def fill(folder: Path, *paths: str) -> Path:
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    return folder


def test_folders_stand_at_their_own_place_and_dot_files_go(tmp_path: Path) -> None:
    fill(tmp_path, "a/x.json", "a-b/y.txt", "a.json", ".hidden", ".git/config", "Z.txt", "é.txt")
    assert names(tmp_path) == ["Z.txt", "a/x.json", "a-b/y.txt", "a.json", "é.txt"]


def test_patterns_are_those_of_gitignore(tmp_path: Path) -> None:
    fill(tmp_path, "model.safetensors", "onnx/model.onnx", "docs/a.md", "README.md", "keep.md")
    (tmp_path / ".mrpackignore").write_text("# not these\nonnx/\n*.md\n!keep.md\n")
    assert names(tmp_path) == ["keep.md", "model.safetensors"]
    assert names(tmp_path, exclude=("keep.md",)) == ["model.safetensors"]
    assert names(tmp_path, include=("*.safetensors",)) == ["model.safetensors"]


def test_links_inside_are_followed_and_links_out_are_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "model", "real.json", "sub/other.json")
    (folder / "link.json").symlink_to("real.json")
    (folder / "folder").symlink_to("sub")
    assert names(folder) == ["folder/other.json", "link.json", "real.json", "sub/other.json"]
    (tmp_path / "secret").write_text("secret")
    (folder / "out.json").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidArtifact, match="link out of the folder"):
        names(folder)
    assert "out.json" not in names(folder, exclude=("out.json",))
    (folder / "out.json").unlink()
    (folder / "sub" / "round").symlink_to("..")
    with pytest.raises(InvalidArtifact, match="circles"):
        names(folder)
    (folder / "sub" / "round").unlink()
    (folder / "itself").symlink_to("itself")
    with pytest.raises(HostRefused, match="itself"):
        names(folder)


def test_a_snapshot_of_the_hugging_face_cache_is_complete(tmp_path: Path) -> None:
    entry = tmp_path / "models--org--name"
    fill(entry, "blobs/1234", "blobs/5678")
    snapshot = entry / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/1234")
    (snapshot / "model.safetensors").symlink_to("../../blobs/5678")
    assert names(snapshot) == ["config.json", "model.safetensors"]
    (snapshot / "stolen").symlink_to(tmp_path)
    with pytest.raises(InvalidArtifact):
        names(snapshot)


def test_special_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidArtifact, match="neither a file nor a folder"):
        names(tmp_path)


def test_a_source_is_recognised_by_what_is_in_it(tmp_path: Path) -> None:
    assert detect(write_markov(tmp_path)) == "gguf"
    assert detect(tmp_path) == "gguf"
    assert detect(fill(tmp_path / "st", "sub/model.safetensors")) == "safetensors"
    assert detect(fill(tmp_path / "sd", "model_index.json", "vae/model.safetensors")) == "diffusers"
    with pytest.raises(NotFound):
        detect(fill(tmp_path / "nothing", "a.txt"))
    with pytest.raises(NotFound):
        detect(tmp_path / "absent")
    with pytest.raises(InvalidArtifact, match="neither GGUF nor DDUF"):
        detect(tmp_path / "nothing" / "a.txt")


def test_one_of_several_gguf_models_is_chosen_by_its_label(tmp_path: Path) -> None:
    write_markov(tmp_path, dtype="f16")
    write_markov(tmp_path, dtype="q8_0")
    write_lora(tmp_path)
    with pytest.raises(UsageError, match="several"):
        PLANNERS["gguf"](tmp_path, Wishes())
    plan = PLANNERS["gguf"](tmp_path, Wishes(quantization="Q8_0"))
    assert plan.config.quantization == "MOSTLY_Q8_0"
    with pytest.raises(NotFound, match="Q4_K_M"):
        PLANNERS["gguf"](tmp_path, Wishes(quantization="Q4_K_M"))


def test_any_shard_names_the_set(tmp_path: Path) -> None:
    shards = write_sharded(tmp_path)
    plan = PLANNERS["gguf"](shards[1], Wishes())
    assert [layer.content for layer in plan.layers] == list(shards)


def test_files_in_the_wrong_role_are_refused(tmp_path: Path) -> None:
    model, lora = write_markov(tmp_path), write_lora(tmp_path)
    with pytest.raises(InvalidArtifact, match="--lora"):
        PLANNERS["gguf"](lora, Wishes())
    with pytest.raises(InvalidArtifact, match="not 'mmproj'"):
        PLANNERS["gguf"](model, Wishes(extras=Extras(mmproj=lora)))


@pytest.fixture
def stored(tmp_path: Path) -> PackedArtifact:
    template = tmp_path / "old.jinja"
    template.write_text("old")
    licence = tmp_path / "LICENSE"
    licence.write_text("free")
    wishes = Wishes(
        extras=Extras(licenses=(licence,), chat_template=template, mmproj=write_mmproj(tmp_path)),
        overrides=parse_setting("sampling.temperature=0.5"),
    )
    return pack(PLANNERS["gguf"](write_markov(tmp_path), wishes), DOCKER)


def config_of(packed: PackedArtifact) -> bytes:
    buffer = memoryview(bytearray(packed.manifest.config.size))
    packed.fetch(packed.manifest.config).readinto(buffer)
    return bytes(buffer)


class Unreadable(MemoryTarget):
    """A base that counts what is read from it."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[Digest] = []

    def fetch(self, descriptor: Descriptor, offset: int = 0):
        self.read.append(descriptor.digest)
        return super().fetch(descriptor, offset)


def repack(stored: PackedArtifact, wishes: Wishes, drop: tuple[str, ...] = ()) -> PackedArtifact:
    artifact = read_artifact(stored.manifest, config_of(stored))
    base = Unreadable()
    settings = parse_setting("sampling.temperature=0.5")
    packed = pack(plan_stored(artifact, settings, wishes, drop=drop), DOCKER, base=base)
    assert base.read == []
    return packed


def test_new_overrides_leave_every_other_layer_alone(stored: PackedArtifact) -> None:
    packed = repack(stored, Wishes(overrides=parse_setting("context_size=128")))
    before, after = stored.manifest.layers, packed.manifest.layers
    assert before[:-1] == after[:-1]
    overrides = parse_overrides(read_small(packed, after[-1]))
    assert overrides == Overrides({"context_size": 128, "sampling.temperature": 0.5})
    assert json.loads(config_of(packed))["config"]["context_size"] == 128


def read_small(packed: PackedArtifact, layer: Descriptor) -> bytes:
    buffer = memoryview(bytearray(layer.size))
    packed.fetch(layer).readinto(buffer)
    return bytes(buffer)


def test_a_new_template_takes_the_place_of_the_old(stored: PackedArtifact, tmp_path: Path) -> None:
    template = tmp_path / "new.jinja"
    template.write_text("new")
    packed = repack(stored, Wishes(extras=Extras(chat_template=template)))
    artifact = read_artifact(packed.manifest, config_of(packed))
    assert [file.path for file in artifact.with_role(LayerRole.CHAT_TEMPLATE)] == ["new.jinja"]
    assert len(artifact.with_role(LayerRole.LICENSE)) == 1


def test_files_are_dropped_by_path_or_role(stored: PackedArtifact) -> None:
    packed = repack(stored, Wishes(), drop=("license", "old.jinja", "overrides"))
    artifact = read_artifact(packed.manifest, config_of(packed))
    assert {file.role for file in artifact.files} == {LayerRole.WEIGHTS, LayerRole.MMPROJ}
    with pytest.raises(NotFound, match="no-such"):
        repack(stored, Wishes(), drop=("no-such",))


def test_a_folder_stays_a_folder_and_unknown_config_keys_stay(tmp_path: Path) -> None:
    memory = MemoryTarget()
    layer = memory.add("application/vnd.docker.ai.model.file", b"{}").with_annotations(
        {"org.cncf.model.filepath": "config.json", "com.example.note": "kept"}
    )
    raw = json.dumps(
        {
            "config": {"format": "safetensors", "com.example": {"a": 1}},
            "descriptor": {},
            "rootfs": {"type": "rootfs", "diff_ids": [str(layer.digest)]},
        }
    ).encode()
    from mrpack.oci.manifest import Manifest

    manifest = Manifest.build(config=memory.add(CONFIG_FOLDER, raw), layers=[layer])
    plan = plan_stored(read_artifact(manifest, raw), Overrides(), Wishes(context_size=64))
    packed = pack(plan, DOCKER, base=memory)
    assert packed.manifest.config.media_type == CONFIG_FOLDER
    config = json.loads(config_of(packed))["config"]
    assert config == {"format": "safetensors", "context_size": 64, "com.example": {"a": 1}}
    assert packed.manifest.layers[0].annotations["com.example.note"] == "kept"


def test_the_second_dialect_shares_every_layer(stored: PackedArtifact) -> None:
    artifact = read_artifact(stored.manifest, config_of(stored))
    packed = pack(plan_stored(artifact, Overrides(), Wishes()), MODELPACK, base=MemoryTarget())
    weights = {layer.digest for layer in stored.manifest.layers[:-1]}
    assert weights == {layer.digest for layer in packed.manifest.layers}


def test_weights_in_other_formats_are_company(tmp_path: Path) -> None:
    """Many repositories hold the same weights twice; a Docker artifact has a place for one of them."""
    folder = write_qwen2(tmp_path / "qwen")
    (folder / "model.onnx").write_bytes(b"onnx")
    packed = pack(PLANNERS["safetensors"](folder, Wishes()), DOCKER)
    artifact = read_artifact(packed.manifest, config_of(packed))
    assert [file.path for file in artifact.with_role(LayerRole.WEIGHTS)] == ["model.safetensors"]
    theirs = pack(PLANNERS["safetensors"](folder, Wishes()), MODELPACK)
    again = plan_stored(read_artifact(theirs.manifest, config_of(theirs)), Overrides(), Wishes())
    assert len(pack(again, DOCKER, base=theirs).manifest.layers) == len(theirs.manifest.layers)

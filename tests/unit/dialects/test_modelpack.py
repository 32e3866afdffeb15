"""CNCF ModelPack: written byte for byte as Docker Model Runner does, and read in all its layer types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, Unsupported
from mrpack.model.annotations import FILEPATH, METADATA, TITLE
from mrpack.model.artifact import HashedLayer, ModelArtifact
from mrpack.model.config import ModelConfig
from mrpack.model.dialects import read_artifact
from mrpack.model.dialects.modelpack import ARTIFACT_TYPE, CONFIG, MODELPACK
from mrpack.model.layer import ArtifactFile, FileMetadata, LayerRole, Packing
from mrpack.model.roles import ROLE
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import encode
from mrpack.oci.manifest import Manifest

MTIME = 1735787045123456789
CREATED = "2025-01-02T03:04:05.6789Z"


def hashed(path: str, role: LayerRole, format_: str = "", content: bytes = b"") -> HashedLayer:
    metadata = FileMetadata(name=path.rpartition("/")[2], mode=0o644, mtime_ns=MTIME, size=len(content))
    described = Descriptor(media_type="a/b", digest=Digest.of(content), size=len(content))
    return HashedLayer(path=path, role=role, format=format_, metadata=metadata, content=described)


GOLDEN = (
    hashed("bad.gguf", LayerRole.WEIGHTS, "gguf", b"NOTGGUF"),
    hashed("LICENSE", LayerRole.LICENSE, "", b"lic\n"),
    hashed("template.jinja", LayerRole.CHAT_TEMPLATE, "", b"{{ x }}"),
    hashed("mmproj-F16.gguf", LayerRole.MMPROJ, "gguf", b"MM"),
)


def layer(media_type: str, **annotations: str) -> Descriptor:
    return Descriptor(
        media_type=media_type,
        digest=Digest.of(media_type.encode() + repr(annotations).encode()),
        size=10,
        annotations=annotations,
    )


def read(*layers: Descriptor, config: Any = None, config_type: str = CONFIG) -> ModelArtifact:
    raw = encode({"descriptor": {}, "modelfs": {}, "config": {}} if config is None else config)
    described = Descriptor(media_type=config_type, digest=Digest.of(raw), size=len(raw))
    manifest = Manifest.build(config=described, layers=layers, artifact_type=ARTIFACT_TYPE)
    return read_artifact(manifest, raw)


def roles(artifact: ModelArtifact) -> dict[str, LayerRole]:
    return {file.path: file.role for file in artifact.files}


def named(path: str, kind: str = "weight", suffix: str = "raw") -> Descriptor:
    return layer(f"application/vnd.cncf.model.{kind}.v1.{suffix}", **{FILEPATH: path})


# Writing.


def test_golden_vector_of_docker_model_runner() -> None:
    config, manifest = MODELPACK.write(ModelConfig(format="gguf", created=CREATED), GOLDEN, folder=False)
    assert len(config) == 419
    assert Digest.of(config).hex == "e4fe5a3a6f3ea2441b31997e12e0bbd17bdff479163de424613e5687d43e429f"
    assert (
        manifest.descriptor.digest.hex == "ffa21fdf9ade0734428674fbf3735643434ebdafb5252a472d7308fcdb719bd9"
    )
    digests = ",".join(f'"{item.content.digest}"' for item in GOLDEN)
    assert config.decode() == (
        f'{{"descriptor":{{"createdAt":"{CREATED}"}},"modelfs":{{"type":"layers","diffIds":[{digests}]}},'
        '"config":{"format":"gguf"}}'
    )
    assert [item.media_type.removeprefix("application/vnd.cncf.model.") for item in manifest.layers] == [
        "weight.v1.raw",
        "doc.v1.raw",
        "weight.config.v1.raw",
        "weight.v1.raw",
    ]


def test_labels_are_written_where_the_specification_has_them() -> None:
    said = ModelConfig(
        format="safetensors",
        quantization="BF16",
        parameters="8.03B",
        architecture="LlamaForCausalLM",
        size="16.06GB",
        metadata={"format": "pt"},
        context_size=8192,
    )
    config, _ = MODELPACK.write(said, [hashed("model.safetensors", LayerRole.WEIGHTS)], folder=True)
    document = json.loads(config)
    assert document["descriptor"] == {"family": "LlamaForCausalLM"}
    assert list(document["config"].items()) == [
        ("architecture", "LlamaForCausalLM"),
        ("format", "safetensors"),
        ("paramSize", "8.03B"),
        ("quantization", "BF16"),
    ]


def test_keys_of_the_specification_survive_a_round_trip_and_others_are_left_out() -> None:
    config = {
        "descriptor": {"createdAt": CREATED, "name": "x", "licenses": ["MIT"], "vendor": "me"},
        "modelfs": {"type": "layers", "diffIds": []},
        "config": {"format": "gguf", "precision": "q4", "capabilities": {"toolUsage": True}, "odd": 1},
        "odd": {},
    }
    artifact = read(named("a.gguf"), config=config)
    raw, manifest = MODELPACK.write(artifact.config, [GOLDEN[0]], folder=False)
    document = json.loads(raw)
    assert document["descriptor"] == config["descriptor"]
    assert document["config"] == {"format": "gguf", "precision": "q4", "capabilities": {"toolUsage": True}}
    assert set(document) == {"descriptor", "modelfs", "config"}
    again, _ = MODELPACK.write(MODELPACK.read(manifest, raw).config, [GOLDEN[0]], folder=False)
    assert again == raw


ROLES = st.sampled_from([role for role in LayerRole if role is not LayerRole.OTHER])
PATHS = st.lists(
    st.from_regex(r"[a-z]{1,6}(/[a-z]{1,6})?\.(gguf|safetensors|json|md|jinja|txt|bin)", fullmatch=True),
    min_size=1,
    max_size=6,
    unique_by=lambda path: path.casefold(),
)


@given(PATHS, st.data())
def test_roles_and_names_survive_a_round_trip(paths: list[str], data: st.DataObject) -> None:
    layers = [hashed(path, data.draw(ROLES), content=path.encode()) for path in paths]
    raw, manifest = MODELPACK.write(ModelConfig(format="gguf"), layers, folder=True)
    artifact = MODELPACK.read(manifest, raw)
    assert [(file.path, file.role) for file in artifact.files] == [(item.path, item.role) for item in layers]
    again, manifest_again = MODELPACK.write(artifact.config, layers, folder=True)
    assert (again, manifest_again) == (raw, manifest)


def test_a_role_that_the_name_does_not_tell_is_annotated() -> None:
    layers = [*GOLDEN, hashed("style.gguf", LayerRole.ADAPTER, "gguf", b"L")]
    _, manifest = MODELPACK.write(ModelConfig(format="gguf"), layers, folder=False)
    assert [item.annotations.get(ROLE) for item in manifest.layers] == [None, None, None, None, "adapter"]


def test_overrides_are_a_file_among_the_configuration() -> None:
    layers = [GOLDEN[0], hashed("mrpack.json", LayerRole.OVERRIDES, "", b"{}")]
    raw, manifest = MODELPACK.write(ModelConfig(format="gguf"), layers, folder=False)
    assert manifest.layers[1].media_type == "application/vnd.cncf.model.weight.config.v1.raw"
    assert ROLE not in manifest.layers[1].annotations
    assert MODELPACK.read(manifest, raw).files[1].role is LayerRole.OVERRIDES


# Reading.


@pytest.mark.parametrize("prefix", ["cncf", "cnai"])
@pytest.mark.parametrize("kind", ["weight", "weight.config", "doc", "code", "dataset"])
@pytest.mark.parametrize("suffix", ["raw", "tar", "tar+gzip", "tar+zstd"])
def test_all_layer_types_are_read(prefix: str, kind: str, suffix: str) -> None:
    annotations = {f"org.{prefix}.model.filepath": "some/x.abc"}
    artifact = read(
        layer(f"application/vnd.{prefix}.model.{kind}.v1.{suffix}", **annotations),
        config_type=f"application/vnd.{prefix}.model.config.v1+json",
    )
    role = {"weight": LayerRole.WEIGHTS, "weight.config": LayerRole.CONFIG, "doc": LayerRole.DOC}
    if suffix == "raw":
        assert roles(artifact) == {"some/x.abc": role.get(kind, LayerRole.OTHER)}
        assert not artifact.archives
    else:
        (archive,) = artifact.archives
        assert archive.packing is Packing(suffix)
        assert (archive.name, archive.role) == ("some/x.abc", role.get(kind, LayerRole.OTHER))
        assert archive.named == (kind not in {"code", "dataset"})
        assert not artifact.files


def test_files_are_known_by_type_and_name() -> None:
    artifact = read(
        named("model-00001-of-00002.safetensors"),
        named("mmproj-F16.gguf"),
        named("tokenizer.json", "weight.config"),
        named("chat_template.jinja", "weight.config"),
        named("mrpack.json", "weight.config"),
        named("LICENSE.txt", "doc"),
        named("notes.json", "doc"),
        named("modeling.gguf", "code"),
    )
    assert roles(artifact) == {
        "model-00001-of-00002.safetensors": LayerRole.WEIGHTS,
        "mmproj-F16.gguf": LayerRole.MMPROJ,
        "tokenizer.json": LayerRole.CONFIG,
        "chat_template.jinja": LayerRole.CHAT_TEMPLATE,
        "mrpack.json": LayerRole.OVERRIDES,
        "LICENSE.txt": LayerRole.LICENSE,
        "notes.json": LayerRole.DOC,
        "modeling.gguf": LayerRole.OTHER,
    }
    assert artifact.config.format == "safetensors"


def test_layer_types_of_docker_model_runner_before_april_2026() -> None:
    artifact = read(named("a", suffix="gguf"), named("b", suffix="safetensors"))
    assert [(file.path, file.format) for file in artifact.files] == [("a", "gguf"), ("b", "safetensors")]


def test_names_come_from_the_title_or_the_metadata_when_there_is_no_path() -> None:
    metadata = encode(
        {
            "name": "c.gguf",
            "mode": 420,
            "uid": 0,
            "gid": 0,
            "size": 10,
            "mtime": "2025-01-02T03:04:05Z",
            "typeflag": 48,
        }
    ).decode()
    weight = "application/vnd.cncf.model.weight.v1.raw"
    config = {"descriptor": {}, "modelfs": {}, "config": {"format": "GGUF"}}
    artifact = read(
        layer(weight, **{TITLE: "b.gguf"}),
        layer(weight, **{METADATA: metadata}),
        layer(weight),
        config=config,
    )
    assert [file.path for file in artifact.files] == ["b.gguf", "c.gguf", "model.gguf"]
    assert artifact.config.format == "gguf"


def test_configs_from_before_the_cncf() -> None:
    artifact = read(
        layer("application/vnd.cnai.model.weight.v1.raw", **{"org.cnai.model.filepath": "a.gguf"}),
        config={
            "descriptor": {"createdAt": CREATED},
            "modelfs": {"type": "layers", "diff_ids": []},
            "config": {"param_size": "8b", "capabilities": {"input_types": ["text"], "tool_usage": True}},
        },
        config_type="application/vnd.cnai.model.config.v1+json",
    )
    assert artifact.config.parameters == "8b"
    assert artifact.config.created == CREATED
    assert artifact.config.extra["config"]["capabilities"] == {"inputTypes": ["text"], "toolUsage": True}


def test_the_same_file_twice_is_one() -> None:
    artifact = read(named("a.gguf"), named("a.gguf"))
    assert len(artifact.files) == 1


def test_an_artifact_without_an_artifact_type_is_recognised() -> None:
    raw = encode({"descriptor": {}, "modelfs": {}, "config": {}})
    described = Descriptor(media_type=CONFIG, digest=Digest.of(raw), size=len(raw))
    artifact = read_artifact(Manifest.build(config=described, layers=[named("a.gguf")]), raw)
    assert artifact.dialect == "cncf"


@pytest.mark.parametrize(
    "layers",
    [
        [named("../a.gguf")],
        [named("/a.gguf")],
        [named("a.gguf"), named("A.gguf", "weight.config")],
        [layer("application/vnd.cncf.model.weight.v1.raw", **{METADATA: "{}"})],
        [named("../a", suffix="tar")],
    ],
)
def test_bad_names_are_refused(layers: list[Descriptor]) -> None:
    with pytest.raises(InvalidArtifact):
        read(*layers)


def test_an_unknown_layer_type_of_the_specification_is_not_passed_over() -> None:
    with pytest.raises(Unsupported):
        read(named("a.gguf"), named("b", suffix="tar+lz4"))


@pytest.mark.parametrize(
    "config",
    [
        {"descriptor": [], "config": {}},
        {"config": {"format": 1}},
        {"descriptor": {"createdAt": "now"}},
        {"config": {"capabilities": "all"}},
    ],
)
def test_malformed_configs_are_refused(config: Any) -> None:
    with pytest.raises(InvalidArtifact):
        read(named("a.gguf"), config=config)


def test_unpacked_files_take_the_place_of_archives() -> None:
    artifact = read(named("config.json", "weight.config"), named("weights", suffix="tar"))
    content = Descriptor(media_type="a/b", digest=Digest.of(b"x"), size=1)

    def unpacked(path: str) -> ArtifactFile:
        return ArtifactFile(path=path, role=LayerRole.WEIGHTS, format="gguf", descriptor=content)

    shards = [unpacked(f"weights/m-0000{number}-of-00002.gguf") for number in (2, 1)]
    complete = artifact.with_unpacked(shards)
    assert not complete.archives
    assert [file.path for file in complete.files] == [
        "config.json",
        "weights/m-00001-of-00002.gguf",
        "weights/m-00002-of-00002.gguf",
    ]
    assert complete.config.format == "gguf"
    with pytest.raises(InvalidArtifact):
        artifact.with_unpacked([unpacked("a.gguf"), unpacked("A.gguf")])

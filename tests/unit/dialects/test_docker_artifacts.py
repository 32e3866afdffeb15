"""Docker Model Runner's artifacts of all its ages, and those that only look like them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, Unsupported
from mrpack.model.annotations import FILEPATH, METADATA, TITLE, find_metadata
from mrpack.model.artifact import ModelArtifact
from mrpack.model.config import ModelConfig
from mrpack.model.dialects import DIALECTS, read_artifact
from mrpack.model.dialects.docker import CONFIG_FILES, CONFIG_FOLDER, DOCKER
from mrpack.model.layer import LayerRole, Packing
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import encode
from mrpack.oci.manifest import Manifest
from mrpack.oci.mediatypes import OCTET_STREAM

AI = "application/vnd.docker.ai."
CREATED = "2025-01-02T03:04:05.6789Z"


def read(
    config: object, *layers: tuple[str, bytes, dict[str, str]], media_type: str = CONFIG_FILES
) -> ModelArtifact:
    """An artifact as some other tool made it: layers by media type, content and annotations."""
    raw = config if isinstance(config, bytes) else encode(config)
    manifest = Manifest.build(
        config=Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw)),
        layers=[
            Descriptor(
                media_type=kind if "/" in kind else AI + kind,
                digest=Digest.of(content),
                size=len(content),
                annotations=annotations,
            )
            for kind, content, annotations in layers
        ],
    )
    return read_artifact(manifest, raw)


def paths(artifact: ModelArtifact) -> list[str]:
    return [file.path for file in artifact.files]


def test_artifacts_from_before_annotations_get_names_by_position():
    config = {
        "config": {
            "format": "gguf",
            "quantization": "IQ2_XXS/Q4_K_M",
            "parameters": "361.82 M",
            "architecture": "llama",
            "size": "256.35 MiB",
        },
        "descriptor": {"created": "2025-03-24T11:46:57.789012345+01:00"},
        "rootfs": {"type": "rootfs", "diff_ids": []},
    }
    one = read(config, ("gguf.v3", b"weights", {}), ("license", b"text", {}))
    assert paths(one) == ["model.gguf", "LICENSE"]
    assert (one.config.parameters, one.config.size, one.config.quantization) == (
        "361.82 M",
        "256.35 MiB",
        "IQ2_XXS/Q4_K_M",
    )
    assert one.config.created == "2025-03-24T11:46:57.789012345+01:00"
    many = read(
        config,
        ("gguf.v3", b"1", {}),
        ("gguf.v3", b"2", {}),
        ("mmproj", b"3", {}),
        ("chat.template.jinja", b"4", {}),
        ("license", b"5", {}),
        ("license", b"6", {}),
        ("model.file", b"7", {}),
    )
    assert paths(many) == [
        "model-00001-of-00002.gguf",
        "model-00002-of-00002.gguf",
        "model.mmproj",
        "template.jinja",
        "LICENSE-1",
        "LICENSE-2",
        "file-7",
    ]


def test_old_safetensors_layouts_are_read_with_their_archives():
    artifact = read(
        {"config": {"format": "safetensors"}, "descriptor": {}, "rootfs": {}},
        ("safetensors", b"1", {}),
        ("safetensors", b"2", {}),
        ("vllm.config.tar", b"3", {}),
        ("dir.tar", b"4", {}),
        ("dir.tar", b"5", {}),
    )
    assert paths(artifact) == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert [(archive.role, archive.packing, archive.descriptor.size) for archive in artifact.archives] == [
        (LayerRole.CONFIG, Packing.TAR, 1),
        (LayerRole.OTHER, Packing.TAR, 1),
        (LayerRole.OTHER, Packing.TAR, 1),
    ]


def test_media_types_of_the_published_specification_are_read():
    artifact = read(
        {
            "config": {"format": "gguf", "format_version": "3"},
            "descriptor": {"createdAt": "2025-01-02T03:04:05Z"},
            "files": [{"diffID": "sha256:0", "type": "application/vnd.docker.ai.gguf.v3"}],
        },
        ("gguf.v3", b"1", {}),
        ("gguf.v3.lora", b"2", {}),
        ("gguf.v3.mmproj", b"3", {}),
    )
    assert [(file.path, file.role) for file in artifact.files] == [
        ("model.gguf", LayerRole.WEIGHTS),
        ("adapter.gguf", LayerRole.ADAPTER),
        ("model.mmproj", LayerRole.MMPROJ),
    ]
    assert artifact.config.created == "2025-01-02T03:04:05Z"
    assert artifact.config.extra == {"config": {"format_version": "3"}}


def test_titles_name_files_that_have_no_path():
    artifact = read(
        {"config": {"format": "gguf"}},
        ("gguf.v3", b"1", {TITLE: "tiny.gguf"}),
        ("model.file", b"2", {TITLE: "notes.txt", FILEPATH: "docs/notes.txt"}),
    )
    assert paths(artifact) == ["tiny.gguf", "docs/notes.txt"]


def test_old_diffusers_artifacts_are_dduf():
    config = {"config": {"format": "diffusers", "diffusers": {"layout": "dduf"}}}
    artifact = read(config, ("dduf", b"1", {}))
    assert (artifact.config.format, artifact.config.metadata) == ("dduf", {"layout": "dduf"})
    assert paths(artifact) == ["model.dduf"]
    folder = read(config, ("safetensors", b"1", {FILEPATH: "unet/x.safetensors"}), media_type=CONFIG_FOLDER)
    assert folder.config.format == "diffusers"


def test_a_config_without_a_format_takes_that_of_the_weights():
    assert read({"config": {}}, ("safetensors", b"1", {})).config.format == "safetensors"
    assert read({}, ("license", b"1", {})).config.format == ""


def test_a_cncf_config_under_a_docker_type_is_understood():
    config = {
        "descriptor": {"createdAt": CREATED},
        "modelfs": {"type": "layers", "diffIds": []},
        "config": {"format": "gguf", "paramSize": "8.03B", "architecture": "llama"},
    }
    artifact = read(config, ("gguf.v3", b"1", {}))
    assert artifact.config == ModelConfig(
        format="gguf", parameters="8.03B", architecture="llama", created=CREATED
    )


def test_unknown_layers_are_plain_files():
    artifact = read(
        {"config": {"format": "gguf"}},
        ("gguf.v3", b"1", {}),
        ("application/x-unknown", b"2", {FILEPATH: "mrpack.json"}),
        ("application/x-unknown", b"3", {}),
    )
    assert [(file.path, file.role) for file in artifact.files[1:]] == [
        ("mrpack.json", LayerRole.OTHER),
        ("file-3", LayerRole.OTHER),
    ]


def test_a_layer_that_repeats_a_file_is_left_out():
    artifact = read(
        {"config": {"format": "gguf"}},
        ("gguf.v3", b"1", {FILEPATH: "a.gguf"}),
        ("gguf.v3", b"1", {FILEPATH: "a.gguf"}),
        ("model.file", b"{}", {FILEPATH: "x.json"}),
        ("model.file", b"{}", {FILEPATH: "y.json"}),
    )
    assert paths(artifact) == ["a.gguf", "x.json", "y.json"]


def test_two_licences_of_one_name_are_numbered():
    artifact = read(
        {"config": {"format": "gguf"}},
        ("gguf.v3", b"1", {FILEPATH: "a.gguf"}),
        ("license", b"2", {FILEPATH: "LICENSE"}),
        ("license", b"3", {FILEPATH: "LICENSE"}),
    )
    assert paths(artifact) == ["a.gguf", "LICENSE-1", "LICENSE-2"]


@pytest.mark.parametrize("name", ["../a.gguf", "/a.gguf", "a\\b", "a//b", "CON", ""])
@pytest.mark.parametrize("key", [FILEPATH, TITLE])
def test_dangerous_names_are_refused_with_their_place(name, key):
    with pytest.raises(InvalidArtifact) as caught:
        read(
            {"config": {"format": "gguf"}},
            ("gguf.v3", b"1", {FILEPATH: "ok.gguf"}),
            ("model.file", b"2", {key: name}),
        )
    assert caught.value.where == f"layers[1].annotations[{key}]"


@pytest.mark.parametrize("names", [("a", "A"), ("a", "a"), ("a", "a/b")])
def test_names_that_clash_are_refused(names):
    with pytest.raises(InvalidArtifact, match="layers: "):
        read(
            {"config": {"format": "gguf"}},
            *[("model.file", str(number).encode(), {FILEPATH: name}) for number, name in enumerate(names)],
        )


@pytest.mark.parametrize(
    ("config", "where"),
    [
        (b"[]", "config"),
        (b'{"config":{},"config":{}}', "config"),
        ({"config": []}, "config.config"),
        ({"descriptor": "x"}, "config.descriptor"),
        ({"config": {"format": 1}}, "config.config.format"),
        ({"config": {"parameters": 1.5}}, "config.config.parameters"),
        ({"config": {"format": "gguf", "gguf": {"a": 1}}}, "config.config.gguf"),
        ({"config": {"context_size": -1}}, "config.config.context_size"),
        ({"config": {"context_size": 2**31}}, "config.config.context_size"),
        ({"config": {"context_size": True}}, "config.config.context_size"),
        ({"config": {"context_size": "4096"}}, "config.config.context_size"),
        ({"descriptor": {"created": "yesterday"}}, "config.descriptor.created"),
    ],
)
def test_malformed_configs_are_refused_with_their_place(config, where):
    with pytest.raises(InvalidArtifact) as caught:
        read(config)
    assert caught.value.where == where


def test_a_context_size_of_zero_is_a_value():
    artifact = read({"config": {"format": "gguf", "context_size": 0}})
    assert artifact.config.context_size == 0
    raw, _ = DOCKER.write(artifact.config, [], folder=False)
    assert b'"context_size":0' in raw


def test_unknown_keys_are_written_again():
    config = {
        "config": {
            "format": "gguf",
            "gguf": {"a": "b"},
            "safetensors": {"c": "d"},
            "capabilities": ["tools"],
        },
        "descriptor": {"created": CREATED, "author": "me"},
        "rootfs": {"type": "rootfs", "diff_ids": []},
        "org.example": {"nested": [1, None]},
    }
    artifact = read(config)
    raw, _ = DOCKER.write(artifact.config, [], folder=False)
    assert json.loads(raw) == config


@pytest.mark.parametrize(
    "metadata",
    [
        "not json",
        "[]",
        '{"name":"a","mode":-1,"size":1,"mtime":"2025-01-02T03:04:05Z"}',
        '{"name":"a","mode":4096000,"size":1,"mtime":"2025-01-02T03:04:05Z"}',
        '{"name":"a","mode":420,"size":1,"mtime":"never"}',
        '{"mode":420,"size":1,"mtime":"2025-01-02T03:04:05Z"}',
        "\ud800",
    ],
)
def test_malformed_file_metadata_is_refused(metadata):
    plain = Descriptor(media_type=OCTET_STREAM, digest=Digest.of(b"x"), size=1)
    descriptor = plain.with_annotations({METADATA: metadata})
    with pytest.raises(InvalidArtifact, match=r"layers\[0\]"):
        find_metadata(descriptor, "layers[0]")
    assert find_metadata(plain, "layers[0]") is None


def test_other_artifacts_are_unsupported_and_named():
    with pytest.raises(Unsupported, match=r"application/vnd\.oci\.image\.config"):
        read({}, media_type="application/vnd.oci.image.config.v1+json")
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)


TEXTS = st.text(max_size=20).filter(lambda text: text.isprintable())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(st.binary(max_size=200) | VALUES.map(lambda value: encode({"config": value, "descriptor": value})))
def test_any_config_is_read_or_refused(config):
    try:
        read(config)
    except InvalidArtifact:
        return

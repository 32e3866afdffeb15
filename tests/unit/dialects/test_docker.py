"""Docker Model Runner's artifacts as mrpack writes them: its very bytes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, Unsupported
from mrpack.model.annotations import FILEPATH, file_annotations, find_metadata
from mrpack.model.artifact import HashedLayer
from mrpack.model.config import ModelConfig
from mrpack.model.dialects import read_artifact
from mrpack.model.dialects.docker import CONFIG_FOLDER, DOCKER
from mrpack.model.layer import FileMetadata, LayerRole
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest
from mrpack.oci.mediatypes import OCTET_STREAM

AI = "application/vnd.docker.ai."
CREATED = "2025-01-02T03:04:05.6789Z"
MTIME_NS = 1_735_787_045_123_456_789


def layer(path: str, role: LayerRole, content: bytes, format_name: str = "") -> HashedLayer:
    name = path.rpartition("/")[2]
    return HashedLayer(
        path=path,
        role=role,
        format=format_name,
        metadata=FileMetadata(name=name, mode=0o644, mtime_ns=MTIME_NS, size=len(content)),
        content=Descriptor(media_type=OCTET_STREAM, digest=Digest.of(content), size=len(content)),
    )


GGUF = layer("bad.gguf", LayerRole.WEIGHTS, b"NOTGGUF", "gguf")
EXTRAS = (
    layer("LICENSE", LayerRole.LICENSE, b"lic\n"),
    layer("template.jinja", LayerRole.CHAT_TEMPLATE, b"{{ x }}"),
    layer("mmproj-F16.gguf", LayerRole.MMPROJ, b"MM", "gguf"),
)
DDUF = layer("model.dduf", LayerRole.WEIGHTS, b"PK\x05\x06" + bytes(18), "dduf")

SAFETENSORS_HEADER = {
    "__metadata__": {"format": "pt", "architecture": "LlamaForCausalLM"},
    "a": {"dtype": "BF16", "shape": [10, 20], "data_offsets": [0, 400]},
    "b": {"dtype": "F32", "shape": [3], "data_offsets": [400, 412]},
}
HEADER = json.dumps(SAFETENSORS_HEADER, separators=(",", ":")).encode()
SAFETENSORS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(412)
FOLDER = (
    layer("README.md", LayerRole.DOC, b"r"),
    layer("a/x.json", LayerRole.CONFIG, b"{}"),
    layer("a-b/y.txt", LayerRole.CONFIG, b"y"),
    layer("a.json", LayerRole.CONFIG, b"{}"),
    layer("config.json", LayerRole.CONFIG, b'{"max_position_embeddings":4096}'),
    layer("model.safetensors", LayerRole.WEIGHTS, SAFETENSORS, "safetensors"),
    layer("vae/diffusion_pytorch_model.safetensors", LayerRole.WEIGHTS, b"bad", "safetensors"),
)

PLAIN = ModelConfig(format="gguf", created=CREATED)
DDUF_CONFIG = ModelConfig(
    format="dduf",
    architecture="diffusers",
    size="22.00B",
    metadata={"layout": "dduf", "dduf_file": "model.dduf"},
    created=CREATED,
)
FOLDER_CONFIG = ModelConfig(
    format="safetensors",
    quantization="mixed",
    parameters="203.00",
    architecture="LlamaForCausalLM",
    size="606.00B",
    metadata={"format": "pt", "tensor_count": "2", "architecture": "LlamaForCausalLM"},
    context_size=4096,
    created=CREATED,
)

# Digests that Docker Model Runner's own builder gave for these files: of the manifest, of the config.
GOLDEN = {
    "A": (
        PLAIN,
        (GGUF,),
        "019bc9d0d7d01366341583e4430c83fa548398d93706743e03a90efc013239e4",
        "a72e0e0629e591ac58ff9f5f0353268ac73d91da1aba95b5aae5465359c08f47",
    ),
    "B": (
        replace(PLAIN, context_size=4096),
        (GGUF, *EXTRAS),
        "5df4b8aa3b28f5f8980341ed0a0024670362f417b2a181691429f89c4b4f4d40",
        "96f3ef5ff7befb9389d920aabe8c8245205cd68dd6fa8e468f36adf89faf9638",
    ),
    "D": (
        DDUF_CONFIG,
        (DDUF,),
        "d1185f3acb9daa4eda836221e21bfc5bcda0daf3349dc8ab2c079fe40eaea24d",
        "d758ae64f0d4241e243e59442610793542fa01bc1f897d8b6c290cfc4b9cc985",
    ),
    "F": (
        FOLDER_CONFIG,
        FOLDER,
        "ec67ebc22d357ab2310cb8c605b0e68b52fa679881b883ebb9c745bf30a14f3d",
        "15fd61dd635aa47f61fcf6f382c7ffe02aa7b6feab34011c751e8f46252e58b2",
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_artifacts_have_the_digests_of_docker(case):
    config, layers, manifest_digest, config_digest = GOLDEN[case]
    raw, manifest = DOCKER.write(config, layers, folder=case == "F")
    assert hashlib.sha256(raw).hexdigest() == config_digest
    assert manifest.descriptor.digest.hex == manifest_digest
    assert manifest.config.digest.hex == config_digest
    assert manifest.config.size == len(raw)


def test_the_simplest_artifact_byte_for_byte():
    raw, manifest = DOCKER.write(PLAIN, [GGUF], folder=False)
    blob = "sha256:c1506e0e71ff09908ead715251b22d401bc1c8cb18a0b314d90b92a71ed315e0"
    assert raw.decode() == (
        f'{{"config":{{"format":"gguf"}},"descriptor":{{"created":"{CREATED}"}},'
        f'"rootfs":{{"type":"rootfs","diff_ids":["{blob}"]}}}}'
    )
    assert manifest.raw.decode() == (
        '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
        '"config":{"mediaType":"application/vnd.docker.ai.model.config.v0.1+json","size":195,'
        '"digest":"sha256:a72e0e0629e591ac58ff9f5f0353268ac73d91da1aba95b5aae5465359c08f47"},'
        f'"layers":[{{"mediaType":"application/vnd.docker.ai.gguf.v3","size":7,"digest":"{blob}",'
        '"annotations":{"org.cncf.model.file.mediatype.untested":"false",'
        '"org.cncf.model.file.metadata+json":"{\\"name\\":\\"bad.gguf\\",\\"mode\\":420,\\"uid\\":0,\\"gid\\":0,'
        '\\"size\\":7,\\"mtime\\":\\"2025-01-02T03:04:05.123456789Z\\",\\"typeflag\\":0}",'
        '"org.cncf.model.filepath":"bad.gguf"}}]}'
    )


def test_names_are_escaped_inside_and_outside_the_metadata():
    _, manifest = DOCKER.write(PLAIN, [layer("a&b.gguf", LayerRole.WEIGHTS, b"x", "gguf")], folder=False)
    assert b'{\\"name\\":\\"a\\\\u0026b.gguf\\"' in manifest.raw
    assert b'"org.cncf.model.filepath":"a\\u0026b.gguf"' in manifest.raw


@pytest.mark.parametrize("case", GOLDEN)
def test_what_is_written_is_read_back(case):
    config, layers, *_ = GOLDEN[case]
    raw, manifest = DOCKER.write(config, layers, folder=case == "F")
    artifact = read_artifact(manifest, raw)
    assert artifact.dialect == "docker"
    assert artifact.manifest is manifest
    assert artifact.config == config
    assert [(file.path, file.role, file.format, file.descriptor.digest) for file in artifact.files] == [
        (layer.path, layer.role, layer.format, layer.content.digest) for layer in layers
    ]
    again = [
        replace(
            layer,
            metadata=find_metadata(file.descriptor, "layers"),
            content=file.descriptor.with_annotations({}),
        )
        for layer, file in zip(layers, artifact.files, strict=True)
    ]
    assert DOCKER.write(artifact.config, again, folder=case == "F") == (raw, manifest)


@pytest.mark.parametrize(
    ("path", "role", "format_name", "media_type"),
    [
        ("m.gguf", LayerRole.WEIGHTS, "gguf", "gguf.v3"),
        ("m.safetensors", LayerRole.WEIGHTS, "safetensors", "safetensors"),
        ("m.dduf", LayerRole.WEIGHTS, "dduf", "dduf"),
        ("p.gguf", LayerRole.MMPROJ, "gguf", "mmproj"),
        ("a.gguf", LayerRole.ADAPTER, "gguf", "gguf.v3.lora"),
        ("t.jinja", LayerRole.CHAT_TEMPLATE, "", "chat.template.jinja"),
        ("LICENSE", LayerRole.LICENSE, "", "license"),
        ("README.md", LayerRole.DOC, "", "model.file"),
        ("mrpack.json", LayerRole.OVERRIDES, "", "model.file"),
        ("tokenizer.model", LayerRole.CONFIG, "", "model.file"),
        ("a/generation_config.json", LayerRole.CONFIG, "", "model.file"),
        ("picture.png", LayerRole.OTHER, "", "model.file"),
    ],
)
def test_roles_survive_their_media_types(path, role, format_name, media_type):
    raw, manifest = DOCKER.write(PLAIN, [layer(path, role, b"x", format_name)], folder=True)
    assert manifest.config.media_type == CONFIG_FOLDER
    assert manifest.layers[0].media_type == AI + media_type
    file = read_artifact(manifest, raw).files[0]
    assert (file.path, file.role, file.format) == (path, role, format_name)


@pytest.mark.parametrize(
    ("role", "format_name"),
    [(LayerRole.WEIGHTS, "pytorch"), (LayerRole.WEIGHTS, ""), (LayerRole.ADAPTER, "pytorch")],
)
def test_what_the_family_cannot_carry_is_refused(role, format_name):
    with pytest.raises(Unsupported, match="no layer type"):
        DOCKER.write(PLAIN, [layer("x.bin", role, b"x", format_name)], folder=False)


def test_metadata_of_a_format_without_a_place_is_refused():
    with pytest.raises(Unsupported, match="no place"):
        DOCKER.write(ModelConfig(format="onnx", metadata={"a": "b"}), [GGUF], folder=False)


def test_clashing_names_are_not_written():
    twice = [GGUF, layer("BAD.gguf", LayerRole.WEIGHTS, b"x", "gguf")]
    with pytest.raises(InvalidArtifact, match="share one name"):
        DOCKER.write(PLAIN, twice, folder=False)


def test_a_config_that_nobody_could_read_is_not_written():
    with pytest.raises(InvalidArtifact, match="metadata is too long"):
        DOCKER.write(replace(PLAIN, metadata={"k": "x" * 9_000_000}), [GGUF], folder=False)


def test_annotations_of_a_layer_are_kept_beside_those_of_its_file():
    named = replace(GGUF, content=GGUF.content.with_annotations({"org.example.a": "1", FILEPATH: "other"}))
    _, manifest = DOCKER.write(PLAIN, [named], folder=False)
    assert manifest.layers[0].annotations == file_annotations("bad.gguf", GGUF.metadata) | {
        "org.example.a": "1"
    }


TEXTS = st.text(max_size=20).filter(lambda text: text.isprintable())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KNOWN = {"format", "quantization", "parameters", "architecture", "size", "context_size", "paramSize"}
CONFIGS = st.builds(
    ModelConfig,
    format=st.sampled_from(["gguf", "safetensors", "dduf"]),
    quantization=TEXTS,
    parameters=TEXTS,
    architecture=TEXTS,
    size=TEXTS,
    metadata=st.dictionaries(TEXTS, TEXTS, max_size=5),
    context_size=st.none() | st.integers(0, 2**31 - 1),
    created=st.sampled_from(["", CREATED]),
    extra=st.fixed_dictionaries(
        {},
        optional={
            "config": st.dictionaries(
                TEXTS.filter(lambda key: key not in KNOWN | {"gguf", "safetensors", "diffusers"}),
                VALUES,
                min_size=1,
                max_size=3,
            ),
            "org.example": VALUES,
        },
    ),
)
FILES = st.lists(
    st.sampled_from([*EXTRAS, *FOLDER, layer("a.gguf", LayerRole.ADAPTER, b"a", "gguf")]),
    unique_by=lambda file: file.path,
    max_size=6,
)


@given(CONFIGS, FILES, st.booleans())
def test_every_artifact_is_read_back(config, files, folder):
    raw, manifest = DOCKER.write(config, files, folder=folder)
    artifact = read_artifact(Manifest.parse(manifest.raw), raw)
    assert artifact.config == config
    assert [(file.path, file.role) for file in artifact.files] == [(file.path, file.role) for file in files]


def test_a_config_about_other_layers_is_refused():
    """Docker Model Runner checks files against these digests, and names them so."""
    raw, manifest = DOCKER.write(PLAIN, [layer("m.gguf", LayerRole.WEIGHTS, b"x", "gguf")], folder=False)
    other = raw.replace(manifest.layers[0].digest.hex.encode(), b"0" * 64)
    described = Descriptor(media_type=manifest.config.media_type, digest=Digest.of(other), size=len(other))
    changed = Manifest.build(config=described, layers=manifest.layers)
    with pytest.raises(InvalidArtifact, match=r"rootfs\.diff_ids"):
        read_artifact(changed, other)

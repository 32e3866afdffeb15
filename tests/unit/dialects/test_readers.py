"""Artifacts of KitOps, Ollama, RamaLama, olot, KServe and ORAS: documents as those tools write them."""

from __future__ import annotations

from typing import Any

import pytest

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, Unsupported
from mrpack.model.annotations import FILEPATH, METADATA, TITLE
from mrpack.model.artifact import ModelArtifact
from mrpack.model.dialects import DIALECTS, read_artifact
from mrpack.model.indexes import choose_manifest
from mrpack.model.layer import LayerRole, Packing
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import encode
from mrpack.oci.manifest import Index, Manifest
from mrpack.oci.mediatypes import DOCKER_MANIFEST, OCI_EMPTY, OCI_MANIFEST

IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar"
KIT = "application/vnd.kitops.modelkit."
MODELPACK_TYPE = "application/vnd.cncf.model.manifest.v1+json"


def layer(media_type: str, content: str = "", **annotations: str) -> Descriptor:
    raw = f"{media_type} {content} {annotations}".encode()
    return Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw), annotations=annotations)


def read(
    *layers: Descriptor, config: Any, config_type: str, artifact_type: str | None = None, **manifest: Any
) -> ModelArtifact:
    raw = encode(config)
    document = {
        "schemaVersion": 2,
        "config": {"mediaType": config_type, "size": len(raw), "digest": str(Digest.of(raw))},
        "layers": [item.to_json() for item in layers],
        **({"artifactType": artifact_type} if artifact_type else {}),
        **manifest,
    }
    return read_artifact(Manifest.parse(encode(document)), raw)


def test_every_dialect_has_a_name_of_its_own() -> None:
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)


def test_an_artifact_that_is_no_model_is_not_recognised() -> None:
    with pytest.raises(Unsupported):
        read(
            layer("application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
            config={},
            config_type="application/vnd.cncf.helm.config.v1+json",
        )


# KitOps


def kit(*layers: Descriptor, **kitfile: Any) -> ModelArtifact:
    """Older versions wrote neither `mediaType` nor `artifactType`."""
    config = {"manifestVersion": "1.0.0", "package": {"name": "x", "authors": ["me"]}, **kitfile}
    annotations = {"ml.kitops.modelkit.cli-version": "1.2.0"}
    return read(*layers, config=config, config_type=f"{KIT}config.v1+json", annotations=annotations)


def test_layers_of_a_model_kit_are_named_by_the_kitfile() -> None:
    model = layer(f"{KIT}model.v1.tar")
    part = layer(f"{KIT}modelpart.v1.tar+gzip")
    code = layer(f"{KIT}code.v1.tar")
    data = layer(f"{KIT}dataset.v1.tar")
    docs = layer(f"{KIT}docs.v1.tar+gzip")
    artifact = kit(
        *(model, part, code, data, docs),
        model={
            "name": "m",
            "path": "./smollm/model.gguf",
            "framework": "llama.cpp",
            "digest": str(model.digest),
            "diffId": str(model.digest),
            "parts": [{"path": "tokenizer/", "digest": str(part.digest)}],
            "parameters": {"num_ctx": 4096, "temperature": 0.5, "learning_rate": 0.1},
        },
        code=[{"path": ".", "digest": str(code.digest)}],
        datasets=[{"name": "d", "path": "data/train.json", "digest": str(data.digest)}],
        docs=[{"path": "README.md", "digest": str(docs.digest)}],
    )
    assert artifact.dialect == "kitops"
    assert [(item.name, item.role, item.packing, item.named) for item in artifact.archives] == [
        ("smollm/model.gguf", LayerRole.WEIGHTS, Packing.TAR, True),
        ("tokenizer", LayerRole.CONFIG, Packing.TAR_GZIP, True),
        ("", LayerRole.OTHER, Packing.TAR, False),
        ("data/train.json", LayerRole.OTHER, Packing.TAR, False),
        ("README.md", LayerRole.DOC, Packing.TAR_GZIP, True),
    ]
    assert artifact.config.format == "gguf"
    assert artifact.settings.settings.values == {"context_size": 4096, "sampling.temperature": 0.5}
    assert not artifact.files


def test_a_kit_whose_model_is_another_kit_says_which() -> None:
    with pytest.raises(Unsupported, match=r"ghcr\.io/jozu/llama3:8b"):
        kit(layer(f"{KIT}code.v1.tar"), model={"path": "ghcr.io/jozu/llama3:8b"})
    with pytest.raises(Unsupported, match="without a model"):
        kit(layer(f"{KIT}code.v1.tar"))


@pytest.mark.parametrize(
    "model",
    [
        {"path": "../model.gguf"},
        {"path": "/model.gguf"},
        {"path": 1},
        {"digest": "sha256:1"},
        {"parts": {}},
        {"parts": ["x"]},
        [],
    ],
)
def test_malformed_kitfiles_are_refused(model: Any) -> None:
    weights = layer(f"{KIT}model.v1.tar")
    if isinstance(model, dict):
        model = {"digest": str(weights.digest), **model}
    with pytest.raises(InvalidArtifact):
        kit(weights, model=model)


def test_a_kit_with_an_unknown_layer_is_not_read_in_part() -> None:
    with pytest.raises(Unsupported):
        kit(layer(f"{KIT}model.v1.tar"), layer(f"{KIT}model.v2.raw"), model={"path": "a"})


# Ollama


def ollama(*kinds: str, **config: Any) -> ModelArtifact:
    layers = [layer(f"application/vnd.ollama.image.{kind}", str(number)) for number, kind in enumerate(kinds)]
    document = {
        "model_format": "gguf",
        "model_family": "llama",
        "model_families": ["llama"],
        "model_type": "8.0B",
        "file_type": "Q4_K_M",
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [str(item.digest) for item in layers]},
        **config,
    }
    return read(
        *layers,
        config=document,
        config_type="application/vnd.docker.container.image.v1+json",
        mediaType=DOCKER_MANIFEST,
    )


def test_a_model_of_ollama() -> None:
    artifact = ollama(
        *("model", "projector", "adapter", "adapter", "template", "system", "params", "license", "license")
    )
    assert artifact.dialect == "ollama"
    assert [(file.path, file.role, file.format) for file in artifact.files] == [
        ("model.gguf", LayerRole.WEIGHTS, "gguf"),
        ("mmproj.gguf", LayerRole.MMPROJ, "gguf"),
        ("adapter.gguf", LayerRole.ADAPTER, "gguf"),
        ("adapter-2.gguf", LayerRole.ADAPTER, "gguf"),
        # A template in Go's language is kept, and is no chat template for our engines.
        ("template.gotmpl", LayerRole.OTHER, ""),
        ("system.txt", LayerRole.OTHER, ""),
        ("params.json", LayerRole.CONFIG, ""),
        ("LICENSE", LayerRole.LICENSE, ""),
        ("LICENSE-2", LayerRole.LICENSE, ""),
    ]
    config = artifact.config
    assert (config.format, config.quantization, config.parameters, config.architecture) == (
        *("gguf", "Q4_K_M", "8.0B"),
        "llama",
    )


def test_an_unknown_quantization_of_ollama_is_no_label() -> None:
    assert ollama("model", file_type="unknown").config.quantization == ""


@pytest.mark.parametrize("kinds", [["template"], ["model", "tensor"], ["json"], ["model", "video"]])
def test_what_only_ollama_opens_is_refused_with_a_reason(kinds: list[str]) -> None:
    with pytest.raises(Unsupported):
        ollama(*kinds)


def test_a_cloud_model_has_no_model() -> None:
    with pytest.raises(Unsupported, match="remote host"):
        ollama("template", remote_model="gpt-oss:120b", remote_host="https://ollama.com:443")


# RamaLama


def test_an_artifact_of_ramalama_is_read_by_its_names() -> None:
    metadata = encode(
        {
            "name": "README.md",
            "mode": 420,
            "uid": 0,
            "gid": 0,
            "size": 3,
            "mtime": "1970-01-01T00:00:00Z",
            "typeflag": 48,
        }
    ).decode()
    artifact = read(
        layer(
            "application/octet-stream",
            **{FILEPATH: "smollm.gguf", TITLE: "smollm.gguf"},
            **{"org.cncf.model.file.mediatype.untested": "true"},
        ),
        layer("text/plain; charset=utf-8", **{FILEPATH: "chat_template.jinja"}),
        layer("text/markdown", **{METADATA: metadata}),
        config={},
        config_type=OCI_EMPTY,
        artifact_type=MODELPACK_TYPE,
        mediaType=OCI_MANIFEST,
    )
    assert artifact.dialect == "ramalama"
    assert [(file.path, file.role) for file in artifact.files] == [
        ("smollm.gguf", LayerRole.WEIGHTS),
        ("chat_template.jinja", LayerRole.CHAT_TEMPLATE),
        ("README.md", LayerRole.DOC),
    ]
    assert artifact.config.format == "gguf"


def test_a_file_of_ramalama_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidArtifact):
        read(layer("a/b"), config={}, config_type=OCI_EMPTY, artifact_type=MODELPACK_TYPE)


# Images


def image(*layers: Descriptor, config_type: str = IMAGE_CONFIG, **config: Any) -> ModelArtifact:
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2025-01-02T03:04:05Z",
        "rootfs": {"type": "layers", "diff_ids": [str(item.digest) for item in layers]},
        **config,
    }
    return read(*layers, config=document, config_type=config_type, mediaType=OCI_MANIFEST)


def test_an_image_of_olot_names_the_files_of_its_layers() -> None:
    artifact = image(
        layer(f"{IMAGE_LAYER}+gzip", "base"),
        layer(
            IMAGE_LAYER,
            **{TITLE: "model.safetensors", "olot.layer.content.inlayerpath": "/models/te/model.safetensors"},
            **{"olot.layer.content.type": "file", "olot.layer.content.name": "model.safetensors"},
        ),
    )
    assert artifact.dialect == "modelcar"
    assert [(item.name, item.packing, item.inner) for item in artifact.archives] == [
        ("", Packing.TAR_GZIP, "models"),
        ("te/model.safetensors", Packing.TAR, "models"),
    ]
    assert artifact.config.format == "safetensors"
    assert artifact.config.created == "2025-01-02T03:04:05Z"


def test_an_image_of_ramalama_says_where_its_model_is() -> None:
    labels = {
        "org.containers.type": "ai.image.model.raw",
        "com.ramalama.model.file.location": "/models/smollm.gguf",
    }
    artifact = image(layer(IMAGE_LAYER), config={"Labels": labels})
    assert artifact.config.format == "gguf"


def test_an_image_in_dockers_own_types() -> None:
    artifact = image(
        layer("application/vnd.docker.image.rootfs.diff.tar.gzip"),
        config_type="application/vnd.docker.container.image.v1+json",
    )
    assert [item.packing for item in artifact.archives] == [Packing.TAR_GZIP]


def test_an_artifact_of_olot_has_files_outside_of_models() -> None:
    (archive,) = image(
        layer(f"{IMAGE_LAYER}+gzip", **{"olot.layer.content.name": "sub/config.json"}),
    ).archives
    assert (archive.name, archive.inner) == ("sub/config.json", "")


@pytest.mark.parametrize("where", ["/models/../x", "/models/a\\b"])
def test_bad_names_in_images_are_refused(where: str) -> None:
    with pytest.raises(InvalidArtifact):
        image(layer(IMAGE_LAYER, **{"olot.layer.content.inlayerpath": where}))


# Plain files


def oras(
    *layers: Descriptor, artifact_type: str | None = "application/vnd.unknown.artifact.v1"
) -> ModelArtifact:
    return read(*layers, config={}, config_type=OCI_EMPTY, artifact_type=artifact_type)


def test_files_of_oras_are_raw_whatever_their_type() -> None:
    artifact = oras(
        layer(IMAGE_LAYER, **{TITLE: "sub/model.gguf"}),
        layer("application/json", **{TITLE: "config.json"}),
        layer(f"{IMAGE_LAYER}+gzip", **{TITLE: "extra.tar.gz"}),
        layer("application/spdx+json"),
    )
    assert artifact.dialect == "oras"
    assert [(file.path, file.role, file.format) for file in artifact.files] == [
        ("sub/model.gguf", LayerRole.WEIGHTS, "gguf"),
        ("config.json", LayerRole.CONFIG, ""),
        ("extra.tar.gz", LayerRole.OTHER, ""),
    ]
    assert not artifact.archives
    assert artifact.config.format == "gguf"


@pytest.mark.parametrize("annotations", [{}, {"io.deis.oras.content.unpack": "true"}])
def test_folders_of_oras_are_archives(annotations: dict[str, str]) -> None:
    """ORAS says so; oras-py does not."""
    artifact = oras(layer(f"{IMAGE_LAYER}+gzip", **{TITLE: "smollm", **annotations}))
    assert [(item.name, item.packing) for item in artifact.archives] == [("smollm", Packing.TAR_GZIP)]
    assert not artifact.files


def test_an_artifact_of_oras_py_without_types() -> None:
    artifact = read(
        layer(IMAGE_LAYER, **{TITLE: "model.safetensors"}),
        config={},
        config_type="application/vnd.unknown.config.v1+json",
    )
    assert artifact.config.format == "safetensors"


def test_plain_files_without_a_model_are_no_model() -> None:
    with pytest.raises(Unsupported):
        oras(layer("text/plain", **{TITLE: "hello.txt"}))


@pytest.mark.parametrize("titles", [["../model.gguf"], ["a/model.gguf", "A/model.gguf"]])
def test_bad_titles_are_refused(titles: list[str]) -> None:
    with pytest.raises(InvalidArtifact):
        oras(*(layer(IMAGE_LAYER, **{TITLE: title}) for title in titles))


# Indexes


def manifest(name: str, **changes: Any) -> Descriptor:
    return Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(name.encode()), size=10, **changes)


def platform(name: str, os: str, architecture: str, **changes: Any) -> Descriptor:
    return manifest(name, extra={"platform": {"os": os, "architecture": architecture}}, **changes)


AMD64 = platform("amd64", "linux", "amd64")
ARM64 = platform("arm64", "linux", "arm64")
ATTESTATION = platform(
    "proof", "unknown", "unknown", annotations={"vnd.docker.reference.type": "attestation-manifest"}
)
OLOT = platform(
    "pack", "unknown", "unknown", annotations={"io.opendatahub.modelcar.manifest.type": "modelpack"}
)
TYPED = manifest("typed", artifact_type=MODELPACK_TYPE)


@pytest.mark.parametrize(
    ("manifests", "chosen"),
    [
        ([ARM64, AMD64, ATTESTATION], AMD64),
        ([ARM64, ATTESTATION], ARM64),
        ([ARM64, AMD64, OLOT], OLOT),
        ([AMD64, TYPED], TYPED),
        ([manifest("only")], manifest("only")),
        ([TYPED, TYPED], TYPED),
    ],
)
def test_the_model_of_an_index(manifests: list[Descriptor], chosen: Descriptor) -> None:
    assert choose_manifest(Index.build(manifests), "x").digest == chosen.digest


@pytest.mark.parametrize(
    "manifests", [[], [ATTESTATION], [manifest("a"), manifest("b")], [AMD64, TYPED, OLOT]]
)
def test_an_index_that_leaves_the_choice_open_is_refused(manifests: list[Descriptor]) -> None:
    with pytest.raises(Unsupported):
        choose_manifest(Index.build(manifests), "x")

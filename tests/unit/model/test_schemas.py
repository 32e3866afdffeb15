"""The schemas take the golden documents of each dialect, and refuse broken ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from mrpack.digest import Digest
from mrpack.model.annotations import METADATA
from mrpack.model.artifact import HashedLayer
from mrpack.model.config import ModelConfig
from mrpack.model.dialects.docker import DOCKER
from mrpack.model.dialects.modelpack import MODELPACK
from mrpack.model.layer import FileMetadata, LayerRole
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index
from mrpack_schemas import NAMES, load

Document = dict[str, Any]


def valid(name: str, document: Any) -> bool:
    return jsonschema.Draft202012Validator(load(name)).is_valid(document)


def hashed(path: str, role: LayerRole, format_: str, content: bytes) -> HashedLayer:
    metadata = FileMetadata(name=path, mode=0o644, mtime_ns=1735787045123456789, size=len(content))
    described = Descriptor(media_type="a/b", digest=Digest.of(content), size=len(content))
    return HashedLayer(path=path, role=role, format=format_, metadata=metadata, content=described)


LAYERS = (
    hashed("bad.gguf", LayerRole.WEIGHTS, "gguf", b"NOTGGUF"),
    hashed("LICENSE", LayerRole.LICENSE, "", b"lic\n"),
    hashed("template.jinja", LayerRole.CHAT_TEMPLATE, "", b"{{ x }}"),
    hashed("mmproj-F16.gguf", LayerRole.MMPROJ, "gguf", b"MM"),
)
CONFIG = ModelConfig(format="gguf", created="2025-01-02T03:04:05.6789Z", context_size=4096)
GOLDEN_MANIFEST_A = (
    '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":'
    '"application/vnd.docker.ai.model.config.v0.1+json","size":195,"digest":"sha256:'
    'a72e0e0629e591ac58ff9f5f0353268ac73d91da1aba95b5aae5465359c08f47"},"layers":[{"mediaType":'
    '"application/vnd.docker.ai.gguf.v3","size":7,"digest":"sha256:'
    'c1506e0e71ff09908ead715251b22d401bc1c8cb18a0b314d90b92a71ed315e0","annotations":{'
    '"org.cncf.model.file.mediatype.untested":"false","org.cncf.model.file.metadata+json":'
    '"{\\"name\\":\\"bad.gguf\\",\\"mode\\":420,\\"uid\\":0,\\"gid\\":0,\\"size\\":7,\\"mtime\\":'
    '\\"2025-01-02T03:04:05.123456789Z\\",\\"typeflag\\":0}","org.cncf.model.filepath":"bad.gguf"}}]}'
)


def golden() -> dict[str, list[Document]]:
    """Documents of each schema, as our writers make them and as they were measured."""
    docker_config, docker_manifest = DOCKER.write(CONFIG, LAYERS, folder=False)
    pack_config, pack_manifest = MODELPACK.write(CONFIG, LAYERS, folder=False)
    manifest_a = json.loads(GOLDEN_MANIFEST_A)
    dduf = {
        "config": {
            "format": "dduf",
            "architecture": "diffusers",
            "size": "22.00B",
            "diffusers": {"dduf_file": "model.dduf", "layout": "dduf"},
        },
        "descriptor": {"created": "2025-01-02T03:04:05.6789Z"},
        "rootfs": {"type": "rootfs", "diff_ids": [str(Digest.of(b""))]},
    }
    return {
        "docker-config": [json.loads(docker_config), dduf],
        "modelpack-config": [json.loads(pack_config)],
        "oci-manifest": [manifest_a, json.loads(docker_manifest.raw), json.loads(pack_manifest.raw)],
        "oci-index": [
            json.loads(Index.build([docker_manifest.descriptor, pack_manifest.descriptor], {"a": "b"}).raw),
            json.loads(Index.build([]).raw),
        ],
        "file-metadata": [
            json.loads(layer["annotations"][METADATA])
            for layer in (*manifest_a["layers"], *json.loads(pack_manifest.raw)["layers"])
        ],
        "overrides": [{}, {"context_size": 4096, "sampling": {"top_p": None}}],
    }


def test_each_name_has_a_schema_of_the_draft_and_golden_documents() -> None:
    assert set(golden()) == set(NAMES)
    for name in NAMES:
        schema = load(name)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert schema["$id"] == f"urn:mrpack:schema:{name}"
        assert schema["title"]
        jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(KeyError):
        load("../pyproject")


@pytest.mark.parametrize("name", NAMES)
def test_golden_documents_are_valid(name: str) -> None:
    for document in golden()[name]:
        jsonschema.Draft202012Validator(load(name)).validate(document)


def put(*path: str | int, value: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        place: Any = document
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value

    return change


def drop(*path: str | int) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        place: Any = document
        for part in path[:-1]:
            place = place[part]
        del place[path[-1]]

    return change


BROKEN = [
    ("docker-config", drop("rootfs")),
    ("docker-config", drop("config", "format")),
    ("docker-config", put("config", "format", value="pickle")),
    ("docker-config", put("config", "context_size", value=2**31)),
    ("docker-config", put("config", "context_size", value="4096")),
    ("docker-config", put("config", "gguf", value={"a": 1})),
    ("docker-config", put("rootfs", "type", value="layers")),
    ("docker-config", put("rootfs", "diff_ids", 0, value="sha256:abc")),
    ("docker-config", put("rootfs", "diff_ids", value=[])),
    ("docker-config", put("descriptor", "created", value="yesterday")),
    ("modelpack-config", drop("modelfs")),
    ("modelpack-config", drop("descriptor")),
    ("modelpack-config", put("config", "context_size", value=4096)),
    ("modelpack-config", put("mrpack", value={})),
    ("modelpack-config", put("modelfs", "type", value="rootfs")),
    ("modelpack-config", put("modelfs", "diffIds", value=[])),
    ("modelpack-config", put("config", "capabilities", value={"inputTypes": ["smell"]})),
    ("modelpack-config", put("descriptor", "name", value="")),
    ("modelpack-config", put("descriptor", "createdAt", value="2025-01-02")),
    ("oci-manifest", drop("config")),
    ("oci-manifest", drop("mediaType")),
    ("oci-manifest", put("schemaVersion", value=1)),
    ("oci-manifest", put("layers", value=[])),
    ("oci-manifest", put("manifests", value=[])),
    ("oci-manifest", drop("layers", 0, "digest")),
    ("oci-manifest", put("layers", 0, "size", value=-1)),
    ("oci-manifest", put("layers", 0, "size", value=1.5)),
    ("oci-manifest", put("layers", 0, "digest", value="md5:d41d8cd98f00b204e9800998ecf8427e")),
    ("oci-manifest", put("layers", 0, "mediaType", value="gguf")),
    ("oci-manifest", put("layers", 0, "annotations", value={"a": 1})),
    ("oci-index", drop("manifests")),
    ("oci-index", put("layers", value=[])),
    ("oci-index", put("manifests", 0, "digest", value=None)),
    ("oci-index", put("manifests", 0, "platform", value={"os": "linux"})),
    ("file-metadata", drop("mtime")),
    ("file-metadata", put("mode", value="0644")),
    ("file-metadata", put("mode", value=0o10000)),
    ("file-metadata", put("name", value="a/b")),
    ("file-metadata", put("mtime", value="2025-01-02 03:04:05")),
    ("file-metadata", put("path", value="x")),
    ("overrides", put("host", value="0.0.0.0")),
    ("overrides", put("context_size", value="many")),
    ("overrides", put("sampling", "typo", value=1)),
]


@pytest.mark.parametrize(("name", "change"), BROKEN)
def test_broken_documents_are_not_valid(name: str, change: Callable[[Document], None]) -> None:
    candidates = [copy.deepcopy(document) for document in golden()[name]]
    document = candidates[-1] if name == "overrides" else candidates[0]
    assert valid(name, document)
    change(document)
    assert not valid(name, document)


def test_strings_of_old_artifacts_are_valid() -> None:
    old = golden()["docker-config"][0]
    old["config"] |= {"parameters": "361.82 M", "size": "256.35 MiB", "quantization": "IQ2_XXS/Q4_K_M"}
    old["config"]["vendor_key"] = {"kept": True}
    assert valid("docker-config", old)

"""Manifests and configs with something wrong, in every dialect: read, or refused as what they are."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import InvalidArtifact, Unsupported
from mrpack.model.artifact import HashedLayer, ModelArtifact
from mrpack.model.dialects import DIALECTS, WRITERS, read_artifact
from mrpack.model.filepath import check_path
from mrpack.model.layer import FileMetadata
from mrpack.oci.encoding import CONFIG_LIMIT, encode
from mrpack.oci.manifest import LAYER_LIMIT, Manifest
from tests.fakes.dialect_documents import DOCUMENTS, Documents

NAMES = ("../m.gguf", "/m.gguf", "a/../../m.gguf", "a\\m.gguf", "CON", "m.gguf/", "a\0b", "a" * 5000)
HOSTILE: tuple[Any, ...] = (
    *NAMES,
    *(None, True, False, 0, -1, 2**63 - 1, 1.5, "", "x", "sha256:short", "2026-99-99T00:00:00Z"),
    *([], {}, [[]], [None], {"a": {"b": []}}, ["m.gguf"] * 3, "\ud800", "{", '{"name":1}'),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value within."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from places(item, (*at, key))


def changed(document: Any, at: tuple[Any, ...], new: Any) -> Any:
    """`document` with `new` at that place."""
    result = json.loads(json.dumps(document))
    inner = result
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = copy.deepcopy(new)
    return result


def read(manifest: bytes, config: bytes) -> ModelArtifact:
    return read_artifact(Manifest.parse(manifest), config)


def read_or_refused(manifest: bytes, config: bytes) -> ModelArtifact | None:
    """Whatever is taken has names that stay in their folder."""
    try:
        artifact = read(manifest, config)
    except (InvalidArtifact, Unsupported):
        return None
    for name in (*(file.path for file in artifact.files), *(item.name for item in artifact.archives)):
        assert not name or check_path(name, "here") == name
    return artifact


def test_there_is_an_artifact_of_every_dialect() -> None:
    assert set(DOCUMENTS) == {dialect.name for dialect in DIALECTS}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_unchanged_artifact_is_read_in_its_own_dialect(name: str) -> None:
    artifact = read(*DOCUMENTS[name].raw())
    assert artifact.dialect == name
    assert artifact.files or artifact.archives


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_value_of_a_manifest_may_be_anything(name: str) -> None:
    documents = DOCUMENTS[name]
    for at in places(documents.manifest):
        for new in HOSTILE:
            read_or_refused(*documents.raw(manifest=changed(documents.manifest, at, new)))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_value_of_a_config_may_be_anything(name: str) -> None:
    documents = DOCUMENTS[name]
    for at in places(documents.config):
        for new in HOSTILE:
            read_or_refused(*documents.raw(config=changed(documents.config, at, new)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(DOCUMENTS)), st.data())
def test_several_things_may_be_wrong_at_once(name: str, data: st.DataObject) -> None:
    documents = DOCUMENTS[name]
    manifest, config = documents.manifest, documents.config
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.sampled_from(list(places(manifest))))
        manifest = changed(manifest, where, data.draw(JSON))
        if list(places(config)):
            config = changed(config, data.draw(st.sampled_from(list(places(config)))), data.draw(JSON))
        if not list(places(manifest)):
            break
    read_or_refused(*documents.raw(manifest, config))


# What a reader must bound.

DESCRIBED = ("docker", "cncf", "kitops", "ollama", "modelcar")


@pytest.mark.parametrize("name", DESCRIBED)
@pytest.mark.parametrize(
    "config",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\xff\xfe{}", id="not UTF-8"),
        pytest.param(b'{"config":{},"config":{}}', id="a key twice"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="nested deeply"),
        pytest.param(b'{"a":' + b"9" * 10_000 + b"}", id="a long number"),
        pytest.param(b'{"a":NaN}', id="not a number"),
        pytest.param(b'{"a":"' + b"x" * CONFIG_LIMIT + b'"}', id="large"),
    ],
)
def test_a_config_that_is_no_small_object_is_refused(name: str, config: bytes) -> None:
    manifest, _ = DOCUMENTS[name].raw()
    with pytest.raises(InvalidArtifact):
        read(manifest, config)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_more_layers_than_any_model_has_are_refused(name: str) -> None:
    documents = DOCUMENTS[name]
    layers = documents.manifest["layers"][:1] * (LAYER_LIMIT + 1)
    with pytest.raises(InvalidArtifact):
        read(*documents.raw(manifest={**documents.manifest, "layers": layers}))


@pytest.mark.parametrize("name", ["cncf", "docker", "ramalama", "oras", "modelcar"])
@pytest.mark.parametrize("path", NAMES)
def test_a_name_that_leaves_its_folder_is_refused_wherever_it_stands(name: str, path: str) -> None:
    documents = DOCUMENTS[name]
    for number, layer in enumerate(documents.manifest["layers"]):
        for key in layer.get("annotations", {}):
            if key.endswith((".filepath", ".title", ".inlayerpath")):
                at = ("layers", number, "annotations", key)
                found = read_or_refused(*documents.raw(manifest=changed(documents.manifest, at, path)))
                assert found is None or name == "modelcar"  # whose paths begin at the root of an image


# Whatever is read can be written, or is refused with a reason.


@pytest.mark.parametrize("dialect", WRITERS)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_one_dialect_says_another_can_say(name: str, dialect: str) -> None:
    artifact = read(*DOCUMENTS[name].raw())
    again = read(*written(artifact, dialect))
    assert [(file.path, file.role) for file in again.files] == [
        (file.path, file.role) for file in artifact.files
    ]
    assert again.config.format == artifact.config.format
    assert again.config.parameters == artifact.config.parameters
    assert again.config.quantization == artifact.config.quantization


def written(artifact: ModelArtifact, dialect: str) -> tuple[bytes, bytes]:
    layers = [
        HashedLayer(
            path=file.path,
            role=file.role,
            format=file.format,
            metadata=FileMetadata(name=file.path, mode=0o644, mtime_ns=0, size=file.descriptor.size),
            content=file.descriptor.plain(),
        )
        for file in artifact.files
    ]
    config, manifest = WRITERS[dialect].write(artifact.config, layers, folder=artifact.folder)
    return manifest.raw, config


def test_documents_are_the_bytes_that_they_stand_for() -> None:
    """What the sets above are made of is made right."""
    sample = Documents({"layers": []}, "application/json", {"a": 1})
    assert json.loads(sample.raw()[0])["config"]["size"] == len(encode({"a": 1}))

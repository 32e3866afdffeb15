"""The local store as the gateway lists it: each model is read once, and said what it can do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrpack.errors import NotFound
from mrpack.model.overrides import parse_setting
from mrpack.oci.reference import Reference
from mrpack.packing.plan import Wishes
from mrpack.verbs.package import PackageRequest, package
from mrpack.workspace import Workspace, open_workspace
from mrpack_runtime.models.library import LibraryEntry
from mrpack_runtime.models.store_library import StoreLibrary
from tests.fakes.tiny_safetensors import write_qwen2


@pytest.fixture
def workspace(home: Path) -> Workspace:
    return open_workspace({"MRPACK_HOME": str(home), "MRPACK_CONFIG_HOME": str(home)})


def by_name(library: StoreLibrary) -> dict[str, LibraryEntry]:
    return {entry.id: entry for entry in library.list()}


def test_what_was_read_of_a_model_is_remembered(workspace: Workspace, tiny_model: Path) -> None:
    package(workspace, PackageRequest(source=tiny_model), "m")
    library = StoreLibrary(workspace)
    first = library.list()
    store = workspace.store
    artifact = store.artifact(store.find("m").manifest)
    store.layout.blobs.path(artifact.manifest.config.digest).unlink()
    assert library.list() == first
    assert StoreLibrary(workspace).list() == ()
    store.remove(store.find("m"))
    assert library.list() == ()


def test_names_of_one_model_are_one_entry(workspace: Workspace, tiny_model: Path) -> None:
    package(workspace, PackageRequest(source=tiny_model), "m")
    library = StoreLibrary(workspace)
    library.list()
    workspace.store.tag("m", Reference.parse("other:v1", workspace.store.defaults))
    (entry,) = library.list()
    assert entry.names == ("m", "other:v1")


def test_of_long_headers_the_list_keeps_the_length_of_the_context(
    workspace: Workspace, tiny_model: Path
) -> None:
    package(workspace, PackageRequest(source=tiny_model), "m")
    library = StoreLibrary(workspace)
    (entry,) = library.list()
    assert all(key.endswith(".context_length") for key in entry.config.metadata)
    whole = library.metadata(entry.digest)
    assert len(whole) > len(entry.config.metadata)
    assert whole.items() >= entry.config.metadata.items()
    workspace.store.remove(workspace.store.find("m"))
    with pytest.raises(NotFound):
        library.metadata(entry.digest)


def test_models_say_what_they_are_for_and_whether_they_see(
    workspace: Workspace, tiny_model: Path, tmp_path: Path
) -> None:
    embeds = Wishes(overrides=parse_setting("mode=embedding"))
    package(workspace, PackageRequest(source=tiny_model), "plain")
    package(workspace, PackageRequest(source=tiny_model, wishes=embeds), "embeds")
    folder = write_qwen2(tmp_path / "sees")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vision_config": {}}))
    package(workspace, PackageRequest(source=folder), "sees")
    found = by_name(StoreLibrary(workspace))
    told = {name.partition(":")[0]: (entry.mode, entry.sees) for name, entry in found.items()}
    assert told == {"plain": (None, False), "embeds": ("embedding", False), "sees": (None, True)}

"""Artifacts of every other tool are packaged and copied as ours, what lies in archives unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mrpack.errors import InvalidArtifact
from mrpack.formats.code.contents import HEAD
from mrpack.model.layer import LayerRole
from mrpack.packing.plan import Wishes
from mrpack.verbs.inspect import inspect, inspect_remote
from mrpack.verbs.package import PackageRequest, package
from mrpack.verbs.transfer import copy
from mrpack.workspace import Workspace, open_workspace
from tests.fakes import other_tools
from tests.fakes.other_tools import FOLDER_TOOLS, GGUF_TOOLS, tar, write_artifact
from tests.fakes.registry import FakeRegistry
from tests.fakes.tiny_safetensors import write_qwen2

# Their labels are read from the files.
ARCHIVED = ("kitops", "modelpack tar", "modelpack tar+gzip", "modelpack tar+zstd", "modelcar", "oras folder")


@pytest.fixture
def workspace(home: Path) -> Iterator[Workspace]:
    with open_workspace({"MRPACK_HOME": str(home), "MRPACK_CONFIG_HOME": str(home)}) as opened:
        yield opened


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def laid_out(workspace: Workspace, name: str) -> dict[str, bytes]:
    return contents(workspace.store.bundle(workspace.store.find(name).manifest).folder)


@pytest.mark.parametrize("dialect", ["docker", "cncf"])
@pytest.mark.parametrize("tool", GGUF_TOOLS)
def test_a_gguf_model_of_every_tool_becomes_ours(
    workspace: Workspace, tiny_model: Path, tmp_path: Path, tool: str, dialect: str
) -> None:
    write_artifact(tool, {"tiny.gguf": tiny_model.read_bytes()}, tmp_path / "theirs", "v1")
    theirs, ours = f"oci:{tmp_path}/theirs:v1", f"oci:{tmp_path}/ours:v1"
    copy(workspace, theirs, ours, dialect=dialect)
    artifact = inspect_remote(workspace, ours).artifact
    assert (artifact.dialect, artifact.archives, artifact.config.format) == (dialect, (), "gguf")
    (weights,) = artifact.with_role(LayerRole.WEIGHTS)
    assert "/" not in weights.path
    if tool in ARCHIVED:
        assert artifact.config.quantization == "MOSTLY_F16"
        assert artifact.config.architecture == "llama"
    package(workspace, PackageRequest(stored=theirs, dialect=dialect), "m")
    assert laid_out(workspace, "m")[weights.path] == tiny_model.read_bytes()
    assert not list((workspace.store.home / "unpacked").glob(".*"))
    assert workspace.store.verify() == []


@pytest.mark.parametrize("tool", FOLDER_TOOLS)
def test_a_safetensors_model_of_every_tool_becomes_ours(
    workspace: Workspace, tmp_path: Path, tool: str
) -> None:
    files = contents(write_qwen2(tmp_path / "qwen"))
    write_artifact(tool, files, tmp_path / "theirs", "v1")
    package(workspace, PackageRequest(stored=f"oci:{tmp_path}/theirs:v1"), "m")
    found = laid_out(workspace, "m")
    assert {name: found.get(name) for name in files} == files
    config = inspect(workspace, "m").artifact.config
    assert config.format == "safetensors"
    if tool in ARCHIVED:
        package(workspace, PackageRequest(source=tmp_path / "qwen"), "direct")
        direct = inspect(workspace, "direct").artifact
        assert inspect(workspace, "m").artifact.folder
        assert config.quantization == direct.config.quantization
        assert config.parameters == direct.config.parameters
        assert config.architecture == direct.config.architecture
    assert workspace.store.verify() == []


def test_a_hostile_archive_is_refused_and_leaves_nothing(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = tar({"../../evil.gguf": b"GGUF"})
    monkeypatch.setattr(other_tools, "tar", lambda *_: evil)
    write_artifact("modelpack tar", {"tiny.gguf": b"x"}, tmp_path / "theirs", "v1")
    with pytest.raises(InvalidArtifact):
        package(workspace, PackageRequest(stored=f"oci:{tmp_path}/theirs:v1"), "m")
    assert not list((workspace.store.home / "unpacked").iterdir())
    assert not list(tmp_path.rglob("evil.gguf"))


def test_a_model_in_an_archive_that_is_none_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    write_artifact("modelpack tar", {"tiny.gguf": b"no model"}, tmp_path / "theirs", "v1")
    with pytest.raises(InvalidArtifact):
        package(
            workspace, PackageRequest(stored=f"oci:{tmp_path}/theirs:v1", wishes=Wishes(allow_code=True)), "m"
        )


# A pickle that calls os.system, in a file whose name says nothing, and with more behind it than is looked at.
PICKLE = b"cos\nsystem\n(S'true'\ntR." + bytes(2 * HEAD)


def with_silent_code(tmp_path: Path) -> str:
    """A place with a model of raw files whose manifest does not admit the code that is among them."""
    files = {**contents(write_qwen2(tmp_path / "qwen")), "spiece.bin": PICKLE}
    write_artifact("oras", files, tmp_path / "theirs", "v1")
    return f"oci:{tmp_path}/theirs:v1"


def test_code_in_raw_files_of_a_tar_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    place = f"oci-archive:{tmp_path}/theirs.tar:v1"
    copy(workspace, with_silent_code(tmp_path), place)
    with pytest.raises(InvalidArtifact) as caught:
        package(workspace, PackageRequest(stored=place), "m")
    assert caught.value.where == "spiece.bin"
    package(workspace, PackageRequest(stored=place, drop=("spiece.bin",)), "m")
    assert inspect(workspace, "m").code == ()


def test_code_in_a_registry_is_seen_by_the_first_bytes_of_its_files(
    workspace: Workspace, tmp_path: Path
) -> None:
    with FakeRegistry() as registry:
        theirs, ours = f"{registry.address}/team/m:v1", f"{registry.address}/team/m:v2"
        copy(workspace, with_silent_code(tmp_path), theirs)
        assert inspect_remote(workspace, theirs).code == ()
        registry.requests.clear()
        copy(workspace, theirs, ours, dialect="docker")
        assert [finding.path for finding in inspect_remote(workspace, ours).code] == ["spiece.bin"]
        code = next(name for (_, name), blob in registry.blobs.items() if blob == PICKLE)
        asked = [r for r in registry.requests if r.name == code and r.method == "GET"]
        assert [request.headers.get("Range") for request in asked] == [f"bytes=0-{HEAD - 1}"]

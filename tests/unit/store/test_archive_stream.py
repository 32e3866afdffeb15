"""Archives that are written straight into a pipe: the bytes of those in files, or no archive at all."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.content.progress import Event, Finished, Planned
from mrpack.errors import IntegrityError, InvalidArtifact, NotFound
from mrpack.oci.manifest import Index, Manifest
from mrpack.store.archive import ArchiveSource
from mrpack.verbs.archive import export_model, stream_model
from mrpack.workspace import Workspace, open_workspace

NAME = "docker.io/ai/m:latest"
WEIGHTS = os.urandom(700_000)


@pytest.fixture
def workspace(home: Path) -> Workspace:
    return open_workspace({"MRPACK_HOME": str(home), "MRPACK_CONFIG_HOME": str(home)})


def add(
    workspace: Workspace, name: str | None, *contents: bytes, subject: Manifest | Index | None = None
) -> Manifest:
    memory = MemoryTarget()
    config, *layers = [memory.add("a/b", content) for content in contents]
    manifest = Manifest.build(
        config=config, layers=layers, subject=None if subject is None else subject.descriptor
    )
    memory.push_manifest(manifest.descriptor, manifest.raw, "v1")
    with workspace.store.operation() as layout:
        copy(memory, "v1", layout, name)
        if name is None:
            layout.push_manifest(manifest.descriptor, manifest.raw, None)
    return manifest


def add_index(workspace: Workspace, *manifests: Manifest) -> Index:
    index = Index.build([manifest.descriptor for manifest in manifests])
    with workspace.store.operation() as layout:
        layout.push_manifest(index.descriptor, index.raw, NAME)
    return index


def streamed(workspace: Workspace, *, referrers: bool = False) -> bytes:
    pipe = io.BytesIO()
    stream_model(workspace, "m", pipe, referrers=referrers)
    return pipe.getvalue()


def filed(workspace: Workspace, folder: Path, *, referrers: bool = False) -> bytes:
    export_model(workspace, "m", folder / "m.tar", referrers=referrers)
    return (folder / "m.tar").read_bytes()


def test_a_pipe_gets_the_bytes_that_a_file_gets(workspace: Workspace, tmp_path: Path) -> None:
    add(workspace, NAME, b"{}", WEIGHTS, b"license", b"license", b"")
    assert streamed(workspace) == filed(workspace, tmp_path)


def test_so_it_is_with_what_belongs_to_a_model(workspace: Workspace, tmp_path: Path) -> None:
    model = add(workspace, NAME, b"{}", WEIGHTS)
    report = add(workspace, None, b"{}", b"report", subject=model)
    add(workspace, None, b"{}", b"signature of the model", subject=model)
    add(workspace, None, b"{}", b"signature of the report", subject=report)
    assert streamed(workspace, referrers=True) == filed(workspace, tmp_path, referrers=True)
    assert streamed(workspace) == filed(workspace, tmp_path)
    assert report.raw in streamed(workspace, referrers=True)
    assert report.raw not in streamed(workspace)


def test_so_it_is_with_an_index(workspace: Workspace, tmp_path: Path) -> None:
    first = add(workspace, "docker.io/ai/one:latest", b"{}", WEIGHTS, b"shared")
    second = add(workspace, "docker.io/ai/two:latest", b"{}", b"other weights", b"shared", subject=first)
    index = add_index(workspace, first, second)
    add(workspace, None, b"{}", b"signature", subject=index)
    for referrers in (False, True):
        assert streamed(workspace, referrers=referrers) == filed(workspace, tmp_path, referrers=referrers)


def test_whoever_watches_hears_of_every_blob(workspace: Workspace) -> None:
    add(workspace, NAME, b"{}", WEIGHTS)
    events: list[Event] = []
    stream_model(workspace, "m", io.BytesIO(), report=events.append)
    (planned,) = [event.blobs for event in events if isinstance(event, Planned)]
    assert [event.blob for event in events if isinstance(event, Finished)] == list(planned)


def test_what_is_not_there_is_known_before_the_first_byte(workspace: Workspace) -> None:
    add(workspace, "docker.io/ai/other:latest", b"{}")
    pipe = io.BytesIO()
    with pytest.raises(NotFound):
        stream_model(workspace, "m", pipe)
    assert not pipe.getvalue()


def test_damage_ends_what_is_then_no_archive(workspace: Workspace, tmp_path: Path) -> None:
    model = add(workspace, NAME, b"{}", WEIGHTS, b"license")
    damaged = workspace.store.layout.blobs.path(model.layers[0].digest)
    damaged.chmod(0o644)
    damaged.write_bytes(WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1]))
    pipe = io.BytesIO()
    with pytest.raises(IntegrityError):
        stream_model(workspace, "m", pipe)
    (broken := tmp_path / "broken.tar").write_bytes(pipe.getvalue())
    with pytest.raises(InvalidArtifact):
        ArchiveSource(broken)


def test_nothing_is_written_beside_the_pipe(workspace: Workspace) -> None:
    """A store on a full or read-only disk can be taken elsewhere."""
    add(workspace, NAME, b"{}", WEIGHTS)
    home = workspace.store.home

    def state() -> dict[Path, tuple[int, int]]:
        return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in home.rglob("*")}

    with workspace.store.reading():  # which leaves a lock file
        before = state()
    streamed(workspace)
    assert state() == before

"""Other tools' folders as they may be found: half-written, broken, linked, or changing meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.errors import HostRefused, IntegrityError, InvalidArtifact, MrpackError, NotFound
from mrpack.neighbours import NeighbourStore
from mrpack.neighbours.dmr import DOCKER_MODEL_RUNNER
from mrpack.neighbours.ollama import OLLAMA
from mrpack.oci.manifest import Manifest
from mrpack.store.layout import OciLayout
from tests.fakes.neighbours import ollama_artifact, write_dmr, write_newer_ollama, write_ollama
from tests.reading import read

WEIGHTS = os.urandom(50_000)
WRONG = (InvalidArtifact, IntegrityError)


@dataclass
class Neighbourhood:
    """Two models, `good:v1` and `bad:v1`; `document` is the file with the manifest of the latter."""

    root: Path
    store: NeighbourStore
    good: Manifest
    bad: Manifest
    document: Path

    def blob(self, number: int) -> Path:
        """Of the layers of `bad`."""
        return self.store._blob(self.bad.layers[number].digest)


def in_ollama(root: Path, memory: MemoryTarget, good: Manifest, bad: Manifest) -> Neighbourhood:
    for name, manifest in (("good", good), ("bad", bad)):
        write_ollama(root, memory, manifest, f"registry.ollama.ai/library/{name}/v1")
    document = root / "manifests" / "registry.ollama.ai" / "library" / "bad" / "v1"
    return Neighbourhood(root, NeighbourStore(OLLAMA, root), good, bad, document)


def in_newer_ollama(root: Path, memory: MemoryTarget, good: Manifest, bad: Manifest) -> Neighbourhood:
    for name, manifest in (("good", good), ("bad", bad)):
        write_newer_ollama(root, memory, manifest, f"ollama.com/library/{name}/v1")
    document = OLLAMA.blob(root, bad.descriptor.digest)
    return Neighbourhood(root, NeighbourStore(OLLAMA, root), good, bad, document)


def in_dmr(root: Path, memory: MemoryTarget, good: Manifest, bad: Manifest) -> Neighbourhood:
    write_dmr(root, memory, bad, "docker.io/ai/bad:v1")
    write_dmr(root, memory, good, "docker.io/ai/good:v1")
    document = root / "manifests" / "sha256" / bad.descriptor.digest.hex
    return Neighbourhood(root, NeighbourStore(DOCKER_MODEL_RUNNER, root), good, bad, document)


@pytest.fixture(params=[in_ollama, in_newer_ollama, in_dmr])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Neighbourhood:
    memory = MemoryTarget()
    good = ollama_artifact(memory, WEIGHTS, ref="good")
    bad = ollama_artifact(memory, WEIGHTS[::-1], ref="bad")
    found: Neighbourhood = request.param(tmp_path / "models", memory, good, bad)
    return found


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def replace_with_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def replace_with_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_with_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (cut, WRONG),
        (lambda path: path.write_bytes(b""), WRONG),
        (lambda path: path.write_bytes(b'{"schemaVersion":2,"layers":{}}'), WRONG),
        (lambda path: path.write_bytes(b"\0" * 300), WRONG),
        (lambda path: path.write_bytes(b"{}" + b" " * 5_000_000), WRONG),
        (Path.unlink, NotFound),
        (replace_with_loop, HostRefused),
        (replace_with_pipe, HostRefused),
        (replace_with_folder, HostRefused),
    ],
    ids=["cut", "empty", "odd", "zeros", "huge", "absent", "loop", "pipe", "folder"],
)
def test_a_broken_manifest_is_told_and_hides_no_other(
    place: Neighbourhood, harm: Callable[[Path], None], error: type[MrpackError]
) -> None:
    harm(place.document)
    with pytest.raises(error):
        place.store.resolve("bad:v1")
    assert place.store.resolve("good:v1") == place.good.descriptor
    assert place.store.resolve(str(place.good.descriptor.digest)) == place.good.descriptor
    assert any(name.endswith("good:v1") for name in place.store.tags())


def test_who_is_broken_is_to_be_pulled_again(place: Neighbourhood) -> None:
    cut(place.document)
    with pytest.raises(WRONG) as caught:
        place.store.resolve("bad:v1")
    assert "again with" in (caught.value.hint or "")


def test_a_blob_that_is_gone_is_named_with_its_tool(place: Neighbourhood, tmp_path: Path) -> None:
    place.blob(0).unlink()
    with pytest.raises(MrpackError) as caught:
        copy(place.store, "bad:v1", OciLayout(tmp_path / "store"), "here")
    assert caught.value.exit_code == NotFound.exit_code
    assert "again with" in (caught.value.hint or "")


def test_a_blob_with_wrong_bytes_is_told_with_its_tool(place: Neighbourhood, tmp_path: Path) -> None:
    place.blob(0).write_bytes(WEIGHTS)
    with pytest.raises(MrpackError) as caught:
        copy(place.store, "bad:v1", OciLayout(tmp_path / "store"), "here")
    assert caught.value.exit_code == IntegrityError.exit_code
    assert "again with" in (caught.value.hint or "")


def test_a_linked_blob_is_taken_and_a_dangling_link_is_not(place: Neighbourhood, tmp_path: Path) -> None:
    place.blob(0).rename(tmp_path / "elsewhere")
    place.blob(0).symlink_to(tmp_path / "elsewhere")
    layout = OciLayout(tmp_path / "store")
    copy(place.store, "bad:v1", layout, "here")
    assert read(layout, place.bad.layers[0]) == WEIGHTS[::-1]
    assert not layout.blobs.path(place.bad.layers[0].digest).is_symlink()
    (tmp_path / "elsewhere").unlink()
    with pytest.raises(NotFound):
        place.store.fetch(place.bad.layers[0])


@pytest.mark.parametrize("harm", [replace_with_loop, replace_with_pipe, replace_with_folder])
def test_a_blob_that_is_no_file_is_refused(place: Neighbourhood, tmp_path: Path, harm: Any) -> None:
    harm(place.blob(0))
    with pytest.raises(MrpackError) as caught:
        copy(place.store, "bad:v1", OciLayout(tmp_path / "store"), "here")
    assert caught.value.exit_code in {IntegrityError.exit_code, HostRefused.exit_code}


def test_a_blob_that_goes_while_it_is_copied_is_told(place: Neighbourhood, tmp_path: Path) -> None:
    manifest = place.store.resolve("bad:v1")
    for layer in place.bad.layers:
        place.store._blob(layer.digest).unlink()
    with pytest.raises(NotFound):
        place.store.fetch(place.bad.layers[0])
    assert place.store.blob_file(place.bad.layers[0]) is None
    assert read(place.store, manifest) == place.bad.raw


# Docker Model Runner's list.


@pytest.fixture
def listed(tmp_path: Path) -> Neighbourhood:
    memory = MemoryTarget()
    good, bad = (ollama_artifact(memory, WEIGHTS[::step], ref=f"m{step}") for step in (1, -1))
    return in_dmr(tmp_path / "models", memory, good, bad)


@pytest.mark.parametrize(
    "change",
    [{"id": None}, {"id": 7}, {"id": "sha256:12"}, {"tags": "ai/bad:v1"}, {"tags": 5}, {"tags": [None, {}]}],
)
def test_a_broken_entry_hides_no_other(listed: Neighbourhood, change: dict[str, Any]) -> None:
    path = listed.root / "models.json"
    document = json.loads(path.read_text())
    document["models"][0].update(change)
    path.write_text(json.dumps(document))
    assert listed.store.resolve("good:v1") == listed.good.descriptor
    with pytest.raises(NotFound):
        listed.store.resolve("bad:v1")


def test_a_half_written_list_is_told(listed: Neighbourhood) -> None:
    cut(listed.root / "models.json")
    with pytest.raises(InvalidArtifact, match=r"models\.json") as caught:
        listed.store.resolve("good:v1")
    assert "repeat" in (caught.value.hint or "")


def test_a_manifest_that_is_not_what_its_name_says_is_told(listed: Neighbourhood) -> None:
    listed.document.write_bytes(listed.good.raw)
    with pytest.raises(IntegrityError):
        listed.store.resolve("bad:v1")

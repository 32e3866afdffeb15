"""What lists show of models is read once, and nothing that lies in its place does harm."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.digest import Digest
from mrpack.errors import MrpackError, NotFound
from mrpack.oci.manifest import Manifest
from mrpack.store.store import Store
from mrpack.store.summaries import Summary

WEIGHTS = "application/vnd.docker.ai.gguf.v3"
CONFIG = "application/vnd.docker.ai.model.config.v0.1+json"
# Lists the store at argv[1] as a program would; prints how many files of each folder it opened, and calls.
COUNTING = """
import json, sys
from collections import Counter
from pathlib import Path
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import decode_object
from mrpack.oci.reference import Reference
from mrpack.store.store import Store
home = Path(sys.argv[1])
opened, calls = Counter(), Counter()
named = {decode_object.__code__: "documents", Descriptor.from_json.__func__.__code__: "descriptors",
         Reference.parse.__func__.__code__: "references"}
def note(event, args):
    if event == "open" and str(args[0]).startswith(str(home)):
        opened[Path(args[0]).parent.name] += 1
def count(frame, event, arg):
    if event == "call" and frame.f_code in named:
        calls[named[frame.f_code]] += 1
sys.addaudithook(note)
sys.setprofile(count)
store = Store(home)
found = store.summaries(store.models())
sys.setprofile(None)
assert all(isinstance(each, tuple) for each in found.values())
print(json.dumps([opened, calls]))
"""


def add(store: Store, *names: str, parameters: str = "1B") -> Manifest:
    source = MemoryTarget()
    for name in names:
        weights = source.add(WEIGHTS, name.encode())
        inner = {"format": "gguf", "parameters": parameters, "context_size": 4096}
        document = {"config": inner, "descriptor": {}, "rootfs": {"diff_ids": [str(weights.digest)]}}
        config = source.add(CONFIG, json.dumps(document).encode())
        manifest = Manifest.build(config=config, layers=[weights])
        source.push_manifest(manifest.descriptor, manifest.raw, name)
        copy(source, name, store.layout, f"docker.io/team/{name}:v1")
    return manifest


def listed(store: Store) -> dict[Digest, Summary | MrpackError]:
    return Store(store.home).summaries(store.models())


def counted(store: Store) -> tuple[dict[str, int], dict[str, int]]:
    """Files opened by the folder they are in, and calls."""
    command = [sys.executable, "-c", COUNTING, str(store.home)]
    opened, calls = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return opened, calls


def blobs_opened(store: Store) -> int:
    return counted(store)[0].get("sha256", 0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    add(store, "a", "b", "c")
    return store


@pytest.fixture
def kept(store: Store) -> Path:
    listed(store)
    return store.layout.root / ".summaries.json"


def test_models_are_read_once(store: Store) -> None:
    assert blobs_opened(store) == 2 * 3
    assert blobs_opened(store) == 0
    add(store, "d")
    assert blobs_opened(store) == 2
    assert blobs_opened(store) == 0


def test_a_list_costs_no_more_than_one_look_at_each_entry(store: Store) -> None:
    listed(store)
    few = counted(store)
    more = 12
    for number in range(more):
        add(store, f"m{number}")
    listed(store)
    opened, calls = counted(store)
    assert opened == few[0]  # the version, the layout's, the index, the summaries
    assert sum(opened.values()) == 4
    assert calls == {"documents": few[1]["documents"], "descriptors": 3 + more, "references": 3 + more}


def test_what_is_kept_is_what_was_read(store: Store) -> None:
    read = listed(store)
    assert [found for found in read.values() if isinstance(found, Summary)] == list(read.values())
    assert listed(store) == read


@pytest.mark.parametrize("missing", ["manifest", "config"])
def test_a_blob_that_is_gone_is_noticed(missing: str, store: Store) -> None:
    manifest = add(store, "lost")
    listed(store)
    blob = manifest.descriptor if missing == "manifest" else manifest.config
    store.layout.blobs.path(blob.digest).unlink()
    found = listed(store)
    assert isinstance(found.pop(manifest.descriptor.digest), NotFound)
    assert all(isinstance(other, Summary) for other in found.values())


@pytest.mark.parametrize("wrong", [{"version": 2}, {"mrpack": "0.0.1"}, {"models": []}, {"more": 1}])
def test_a_file_of_another_version_is_read_as_none(
    wrong: dict[str, object], store: Store, kept: Path
) -> None:
    before, document = listed(store), json.loads(kept.read_bytes())
    kept.write_text(json.dumps({**document, **wrong}))
    assert listed(store) == before
    assert json.loads(kept.read_bytes()) == document


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"a":' * 100_000, b'{"models":' + b"[" * 700_000, b"\0" * 4096]
)
def test_a_torn_file_is_written_again(content: bytes, store: Store, kept: Path) -> None:
    before, good = listed(store), kept.read_bytes()
    kept.write_bytes(content)
    assert listed(store) == before
    assert kept.read_bytes() == good


@pytest.mark.parametrize("place", range(len(Summary._fields)))
@pytest.mark.parametrize("value", [1.5, True, [], {}, "x" * 1000, -1])
def test_a_wrong_field_costs_the_model_its_row(place: int, value: object, store: Store, kept: Path) -> None:
    before, document = listed(store), json.loads(kept.read_bytes())
    next(iter(document["models"].values()))[place] = value
    kept.write_text(json.dumps(document))
    assert listed(store) == before


@pytest.mark.parametrize("plant", ["link", "folder"])
def test_what_somebody_planted_is_not_followed(plant: str, store: Store, kept: Path, tmp_path: Path) -> None:
    before = listed(store)
    elsewhere = tmp_path / "elsewhere"
    kept.rename(elsewhere)
    if plant == "link":
        kept.symlink_to(elsewhere)
    else:
        kept.mkdir()
    content = elsewhere.read_bytes()
    add(store, "d")
    assert listed(store).items() >= before.items()
    assert elsewhere.read_bytes() == content


def test_long_labels_are_shown_and_not_kept(store: Store, kept: Path) -> None:
    before = kept.read_bytes()
    manifest = add(store, "wordy", parameters="B" * 1000)
    found = listed(store)[manifest.descriptor.digest]
    assert isinstance(found, Summary)
    assert found.parameters == "B" * 1000
    assert kept.read_bytes() == before


def test_gc_forgets_what_it_removes(store: Store, kept: Path) -> None:
    manifest = add(store, "d")
    listed(store)
    assert str(manifest.descriptor.digest) in kept.read_text()
    store.remove(store.find("team/d:v1"))
    store.collect()
    assert str(manifest.descriptor.digest) not in kept.read_text()
    assert blobs_opened(store) == 0


def test_a_list_does_not_prepare_a_store_for_others(store: Store) -> None:
    store.layout.blobs.ingest_folder.rmdir()
    listed(store)
    assert not store.layout.blobs.ingest_folder.exists()
    assert blobs_opened(store) == 2 * 3

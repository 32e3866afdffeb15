"""Settings by hand on disk: kept, shared by processes, and never half written."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mrpack.errors import HostRefused
from mrpack.model.overrides import Overrides
from mrpack.oci.reference import ReferenceDefaults
from mrpack_runtime.settings.file import FILE_NAME, FileSettings

DEFAULTS = ReferenceDefaults()


def store(folder: Path, defaults: ReferenceDefaults = DEFAULTS) -> FileSettings:
    return FileSettings(folder, defaults)


def test_settings_outlive_the_process_that_made_them(tmp_path):
    store(tmp_path).set("smollm2", Overrides({"context_size": 4096, "sampling.stop": ["a", "b"]}))
    again = store(tmp_path)
    assert again.get("smollm2").values == {"context_size": 4096, "sampling.stop": ["a", "b"]}
    assert again.all().keys() == {"smollm2"}
    assert not again.get("smollm2:other")


def test_nothing_is_kept_and_nothing_made_before_the_first_setting(tmp_path):
    folder = tmp_path / "config"
    empty = store(folder)
    assert not empty.get("smollm2")
    assert not empty.all()
    assert empty.stamp() is None
    assert not folder.exists()


def test_taking_everything_away_takes_the_entry_away(tmp_path):
    kept = store(tmp_path)
    kept.set("a", Overrides({"context_size": 1}))
    kept.set("a", Overrides())
    assert not kept.all()
    assert json.loads(kept.path.read_text()) == {"models": {}}


def test_names_mean_the_same_model_whatever_the_defaults_are(tmp_path):
    store(tmp_path).set("smollm2", Overrides({"context_size": 1}))
    elsewhere = store(tmp_path, ReferenceDefaults(registry="registry.example.com", namespace="team"))
    assert not elsewhere.get("smollm2")
    assert elsewhere.get("docker.io/ai/smollm2:latest").values == {"context_size": 1}
    assert list(elsewhere.all()) == ["docker.io/ai/smollm2"]


def test_another_process_sees_a_change_by_its_stamp(tmp_path):
    mine, theirs = store(tmp_path), store(tmp_path)
    theirs.set("a", Overrides({"context_size": 1}))
    before = mine.stamp()
    assert mine.get("a").values == {"context_size": 1}
    theirs.set("a", Overrides({"context_size": 2}))
    assert mine.stamp() != before
    assert mine.get("a").values == {"context_size": 2}


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"models": []}', b'{"models": {"a": 1}}', b'{"models": {"a": {"no_such": 1}}}', b"{" * 9],
)
def test_a_damaged_file_is_named_and_never_replaced(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    kept = store(tmp_path)
    for attempt in (kept.all, lambda: kept.get("a"), lambda: kept.set("a", Overrides({"context_size": 1}))):
        with pytest.raises(HostRefused) as caught:
            attempt()
        assert str(tmp_path / FILE_NAME) in caught.value.message
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_processes_that_change_at_once_lose_nothing(tmp_path):
    program = (
        "import sys, pathlib\n"
        "from mrpack.model.overrides import Overrides\n"
        "from mrpack.oci.reference import ReferenceDefaults\n"
        "from mrpack_runtime.settings.file import FileSettings\n"
        "kept = FileSettings(pathlib.Path(sys.argv[1]), ReferenceDefaults())\n"
        "for n in range(20):\n"
        "    kept.set(f'{sys.argv[2]}-{n}', Overrides({'context_size': n + 1}))\n"
        "    kept.change('shared', lambda old: Overrides(\n"
        "        {'context_size': old.values.get('context_size', 0) + 1}))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, tmp_path, f"m{n}"]) for n in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    found = store(tmp_path).all()
    assert len(found) == 61
    assert found["shared"].values == {"context_size": 60}


def test_the_file_lies_in_a_private_folder(tmp_path):
    kept = store(tmp_path / "config")
    kept.set("a", Overrides({"context_size": 1}))
    assert stat.S_IMODE((tmp_path / "config").stat().st_mode) == 0o700
    assert sorted(path.name for path in (tmp_path / "config").iterdir()) == [FILE_NAME, f"{FILE_NAME}.lock"]

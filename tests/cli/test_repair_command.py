"""verify and repair as typed: what they print, and the exit codes that scripts go by."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.program import Mrpack


@pytest.fixture
def store(mrpack: Mrpack, tiny_model: Path, tmp_path: Path) -> Path:
    home = tmp_path / "mrpack-home"
    mrpack.environment["MRPACK_HOME"] = str(home)
    mrpack("package", tiny_model, "team/tiny:v1")
    return home / "store"


def flip_a_bit(mrpack: Mrpack, store: Path) -> Path:
    shown = mrpack("inspect", "tiny", "--json").json
    blob = store / "blobs" / shown["files"][0]["digest"].replace(":", "/")
    content = bytearray(blob.read_bytes())
    blob.unlink()  # it is a link to the model file
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)
    return blob


def test_a_sound_store_needs_nothing(mrpack: Mrpack, store: Path) -> None:
    assert mrpack("verify", "--jobs", "2").code == 0
    done = mrpack("repair")
    assert done.out == ""
    assert done.err == "nothing to repair\n"


def test_a_damaged_model_is_found_moved_aside_and_packaged_again(
    mrpack: Mrpack, store: Path, tiny_model: Path
) -> None:
    blob = flip_a_bit(mrpack, store)
    found = mrpack("verify", fails=6)
    assert found.out.count(blob.name) == 1
    assert found.out.startswith(f"sha256:{blob.name}: content has digest sha256:")
    assert "docker.io/team/tiny:v1" in found.last_line
    assert "mrpack repair" in found.last_line
    dry = mrpack("repair", "--dry-run", "--json", fails=6).json
    assert blob.exists()
    done = mrpack("repair", "--json", fails=6).json
    assert done == {**dry, "dry_run": False}
    assert done["incomplete"] == ["docker.io/team/tiny:v1"]
    assert [item["digest"] for item in done["damaged"]] == [f"sha256:{blob.name}"]
    assert (Path(done["folder"]) / f"sha256-{blob.name}").exists()
    mrpack("resolve", "tiny", fails=3)
    mrpack("package", tiny_model, "team/tiny:v1")
    assert mrpack("verify").code == 0


def test_a_damaged_blob_that_a_registry_refuses_is_suspected(
    mrpack: Mrpack, store: Path, registry: str
) -> None:
    flip_a_bit(mrpack, store)
    assert "`mrpack verify tiny`" in mrpack("push", "tiny", f"{registry}/team/tiny:v1", fails=6).last_line


def test_what_is_gone_has_to_be_brought_again(mrpack: Mrpack, store: Path, registry: str) -> None:
    flip_a_bit(mrpack, store)
    mrpack("repair", fails=6)
    for arguments in (["inspect", "tiny"], ["push", "tiny", f"{registry}/team/tiny:v1"]):
        assert "pull or package it again" in mrpack(*arguments, fails=3).last_line


def test_a_model_with_two_names_is_one(mrpack: Mrpack, store: Path) -> None:
    mrpack("tag", "tiny", "other:v2")
    assert mrpack("df").out.startswith("1 model, ")
    assert mrpack("verify").err.startswith("1 model verified")
    assert mrpack("verify", "tiny", "other:v2", "--json").json["models"] == 1


def test_a_lost_index_stops_everything_but_repair(mrpack: Mrpack, store: Path) -> None:
    (store / "index.json").unlink()
    for command in ("list", "gc", "df", "verify"):
        assert "mrpack repair" in mrpack(command, fails=6).last_line
    assert mrpack("repair").out.startswith("rebuilt the index: ")
    assert mrpack("list", "--json").json[0]["reference"] == "docker.io/team/tiny:v1"
    (store / "index.json").write_text("{")
    (store / ".last-index.json").unlink()
    assert "mrpack repair" in mrpack("list", fails=7).last_line
    recovered = mrpack("repair", "--json").json["recovered"]
    assert [item["reference"] for item in mrpack("list", "--json").json] == recovered


def test_without_a_store_there_is_nothing_to_repair(mrpack: Mrpack, tmp_path: Path) -> None:
    assert "no store in" in mrpack("repair", fails=3, MRPACK_HOME=str(tmp_path / "none")).last_line
    assert not (tmp_path / "none").exists()

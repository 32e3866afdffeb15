"""`pull --output`: files of an artifact in a folder, past the store."""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.crash.zygote import waits_for_lock
from tests.documented_keys import checked
from tests.program import Mrpack
from tests.waiting import until


@pytest.fixture
def reference(mrpack: Mrpack, registry: str, tiny_model: Path, tmp_path: Path) -> str:
    (tmp_path / "LICENSE").write_text("do what you want")
    (tmp_path / "template.jinja").write_text("{{ messages }}")
    name = f"{registry}/team/tiny:v1"
    mrpack(
        "package",
        tiny_model,
        name,
        "--license",
        "LICENSE",
        "--chat-template",
        "template.jinja",
        "--push",
        "-q",
    )
    return name


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_all_files_come_under_their_names(
    mrpack: Mrpack, reference: str, tiny_model: Path, tmp_path: Path
) -> None:
    result = mrpack("pull", reference, "--output", "out", "--json").json
    checked("pull --output: files", checked("pull --output", result)["files"][0])
    assert result["whole"] is True
    out = tmp_path / "out"
    assert (out / tiny_model.name).read_bytes() == tiny_model.read_bytes()
    assert {"LICENSE", tiny_model.name} <= names(out)
    assert mrpack("list", "--json").json == []
    assert (out / "LICENSE").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("words", "roles"),
    [
        (["license"], {"license"}),
        (["license", "chat-template"], {"license", "chat-template"}),
        (["*.gguf"], {"weights"}),
        (["LICEN*"], {"license"}),
    ],
)
def test_only_what_was_asked_for_comes(
    mrpack: Mrpack, reference: str, tmp_path: Path, words: list[str], roles: set[str]
) -> None:
    includes = [argument for word in words for argument in ("--include", word)]
    result = mrpack("pull", reference, "--output", "out", "--json", *includes).json
    assert {file["role"] for file in result["files"]} == roles
    assert result["whole"] is False
    assert names(tmp_path / "out") == {Path(file["path"]).name for file in result["files"]}


def test_what_is_there_and_right_stays_and_the_rest_is_replaced(
    mrpack: Mrpack, reference: str, tiny_model: Path, tmp_path: Path
) -> None:
    mrpack("pull", reference, "--output", "out", "-q")
    weights = tmp_path / "out" / tiny_model.name
    before = weights.stat().st_ino
    (tmp_path / "out" / "LICENSE").write_text("mine")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    done = mrpack("pull", reference, "--output", "out")
    assert done.err.count("existing") == done.err.count("pulling") - 1
    assert weights.stat().st_ino == before
    assert (tmp_path / "out" / "LICENSE").read_text() == "do what you want"
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_link_out_of_the_folder_is_not_followed(mrpack: Mrpack, reference: str, tmp_path: Path) -> None:
    (outside := tmp_path / "outside").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "LICENSE").symlink_to(outside)
    mrpack("pull", reference, "--output", "out", "--include", "license")
    assert outside.read_text() == "precious"
    assert not (tmp_path / "out" / "LICENSE").is_symlink()


def test_mistakes_are_told(mrpack: Mrpack, reference: str, tmp_path: Path) -> None:
    assert "--output" in mrpack("pull", reference, "--include", "config", fails=2).last_line
    refused = mrpack("pull", reference, "--output", "out", "--include", "*.safetensors", fails=3)
    assert "LICENSE" in refused.last_line
    mrpack("pull", reference, "--output", "out", "--include", "mmproj", fails=3)
    mrpack("pull", f"{reference}x", "--output", "out", fails=3)
    assert not (tmp_path / "out").exists()
    os.mkfifo(tmp_path / "pipe")
    assert "pipe is no folder" in mrpack("pull", reference, "--output", "pipe", fails=8).last_line


def test_two_that_write_to_one_folder_take_turns(
    mrpack: Mrpack, reference: str, tiny_model: Path, tmp_path: Path
) -> None:
    (out := tmp_path / "out").mkdir()
    with ExitStack() as held:
        handle = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
        held.callback(os.close, handle)
        fcntl.flock(handle, fcntl.LOCK_EX)
        process = mrpack.start("pull", reference, "--output", "out")
        until(lambda: waits_for_lock(process.pid), "the second to wait")
        assert list(out.iterdir()) == []
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert {"LICENSE", tiny_model.name} <= names(out)


def test_what_a_failure_left_is_nothing_but_what_can_be_taken_up(
    mrpack: Mrpack, reference: str, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "out" / "LICENSE").mkdir(parents=True)
    mrpack("pull", reference, "--output", "out", "--include", "license", fails=8)
    mrpack("pull", reference, "--output", "out", "--include", "license", fails=8)
    (tmp_path / "out" / "LICENSE").rmdir()
    mrpack("pull", reference, "--output", "out", "--include", "license")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["LICENSE"]

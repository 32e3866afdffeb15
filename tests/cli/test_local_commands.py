"""package, list, inspect, tag, resolve, verify, rm, df, gc: as typed, in a fresh home."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.tiny_gguf import write_markov, write_mmproj, write_sharded
from tests.program import Mrpack


def digest_of(mrpack: Mrpack, *arguments: str | Path) -> str:
    return mrpack("package", *arguments).out.strip()


def test_a_model_lives_its_life(mrpack: Mrpack, tiny_model: Path, tmp_path: Path) -> None:
    digest = digest_of(mrpack, "--gguf", tiny_model, "team/tiny:f16")
    assert digest.startswith("sha256:")
    (listed,) = mrpack("list", "--json").json
    assert (listed["reference"], listed["digest"]) == ("docker.io/team/tiny:f16", digest)
    assert "team/tiny:f16" in mrpack("ls").out
    shown = mrpack("inspect", "tiny", "--json").json
    assert shown["files"][0]["role"] == "weights"
    assert shown["format"] == "gguf"
    assert mrpack("tag", "tiny", "other:v1").out == "docker.io/ai/other:v1\n"
    path = Path(mrpack("resolve", digest[7:19]).out.strip())
    assert path.read_bytes() == tiny_model.read_bytes()
    assert mrpack("verify").err.startswith("1 model verified")
    assert mrpack("df", "--json").json["models"] == 1
    mrpack("rm", "team/tiny:f16")
    assert mrpack("verify").err.startswith("1 model verified")
    assert mrpack("resolve", "other:v1").out.strip() == str(path)
    mrpack("rm", "other:v1")
    assert mrpack("list", "--json").json == []
    assert mrpack("df", "--json").json["blobs"] == 0
    assert tiny_model.exists()


def test_the_same_files_give_the_same_digest_whatever_their_times_and_place(
    mrpack: Mrpack, tiny_model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "elsewhere" / tiny_model.name
    other.parent.mkdir()
    shutil.copyfile(tiny_model, other)
    os.utime(other, (1, 1))
    other.chmod(0o600)
    first = digest_of(mrpack, tiny_model, "m:1")
    assert digest_of(mrpack, other, "m:2", "--dry-run") == first
    assert digest_of(mrpack, other, "m:2") == first
    assert digest_of(mrpack, other, "m:3", "--file-metadata", "preserve") != first
    assert digest_of(mrpack, other, "m:4", "--created", "2025-01-02T03:04:05Z") != first
    later = mrpack("package", str(other), "m:5", SOURCE_DATE_EPOCH="1735787045").out.strip()
    assert later != first


def test_dry_run_writes_nothing(mrpack: Mrpack, tiny_model: Path, home: Path) -> None:
    done = mrpack("package", tiny_model, "m", "--dry-run", "--json")
    assert done.json["reference"] is None
    assert list(home.iterdir()) == []


def test_shards_and_everything_beside_the_weights(mrpack: Mrpack, tmp_path: Path) -> None:
    shards = write_sharded(tmp_path)
    mmproj = write_mmproj(tmp_path)
    licence = tmp_path / "LICENSE"
    licence.write_text("free\n")
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}")
    done = mrpack(
        "package",
        "--gguf",
        shards[1],
        "--license",
        licence,
        "--chat-template",
        template,
        "--mmproj",
        mmproj,
        "--context-size",
        "128",
        "m",
        "--json",
    )
    roles = [layer["role"] for layer in done.json["layers"]]
    assert roles == ["weights", "weights", "license", "chat-template", "mmproj"]
    assert done.json["context_size"] == 128
    assert mrpack("resolve", "m").out.strip().endswith("-00001-of-00002.gguf")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["package", "missing.gguf", "m"], 3, "missing.gguf"),
        (["package", "--gguf", "missing.gguf", "m"], 3, "missing.gguf"),
        (["package", "garbage.gguf", "m"], 7, "garbage.gguf"),
        (["package", "empty.gguf", "m"], 7, "empty.gguf"),
        (["package", "cut.gguf", "m"], 7, "cut.gguf"),
        (["package", "tiny-00001-of-00002.gguf", "m"], 3, "tiny-00002-of-00002.gguf"),
        (["package", ".", "m"], 7, "cut.gguf"),
        (["package", "good.gguf", "UPPER CASE"], 2, "bad reference"),
        (["package", "good.gguf", "m:bad tag"], 2, "bad reference"),
        (["package", "good.gguf"], 2, "SOURCE and MODEL"),
        (["package"], 2, "missing argument"),
        (["package", "good.gguf", "m", "--context-size", "0"], 2, "context size"),
        (["package", "good.gguf", "m", "--context-size", "4294967296"], 2, "context size"),
        (["package", "good.gguf", "m", "--created", "yesterday"], 2, "yesterday"),
        (["package", "good.gguf", "m", "--license", "garbage.gguf"], 7, "UTF-8"),
        (["package", "good.gguf", "m", "--mmproj", "good.gguf"], 7, "mmproj"),
        (["package", "good.gguf", "m", "--no-such-flag"], 2, "--no-such-flag"),
        (["inspect", "nothing"], 3, "mrpack pull nothing"),
        (["rm", "nothing"], 3, "nothing"),
        (["resolve", "sha256:" + "0" * 64], 3, "mrpack list"),
        (["tag", "nothing", "m"], 3, "nothing"),
        (["frobnicate"], 2, "frobnicate"),
        (["pull", "127.0.0.1:1/x/y"], 5, "127.0.0.1:1"),
        (["push", "nothing"], 3, "nothing"),
        (["inspect", "oci:nowhere"], 3, "nowhere"),
        (["login", "127.0.0.1:1"], 2, "--password-stdin"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    mrpack: Mrpack, tiny_model: Path, tmp_path: Path, home: Path, arguments: list[str], code: int, says: str
) -> None:
    content = tiny_model.read_bytes()
    (tmp_path / "good.gguf").write_bytes(content)
    (tmp_path / "garbage.gguf").write_bytes(bytes(range(256)))
    (tmp_path / "empty.gguf").write_bytes(b"")
    (tmp_path / "cut.gguf").write_bytes(content[:-100])
    (tmp_path / "tiny-00001-of-00002.gguf").write_bytes(content)
    done = mrpack(*arguments, fails=code)
    assert says in done.last_line
    assert done.out == ""
    assert not list(home.rglob("blobs/*/*"))


def test_a_damaged_store_is_said_so(mrpack: Mrpack, tiny_model: Path, home: Path) -> None:
    mrpack("package", tiny_model, "m")
    weights = next(path for path in home.rglob("blobs/sha256/*") if path.stat().st_size > 10_000)
    copy = bytearray(weights.read_bytes())
    copy[5000] ^= 1
    weights.unlink()
    weights.write_bytes(copy)
    done = mrpack("verify", "--json", fails=6)
    assert json.loads(done.out)["damaged"][0]["references"] == ["docker.io/ai/m:latest"]


def test_a_broken_config_file_is_named(mrpack: Mrpack, home: Path) -> None:
    (home / "config.toml").write_text("[registries.'x']\nspeed = 1\n")
    done = mrpack("list", fails=2, MRPACK_CONFIG_HOME=str(home))
    assert "config.toml" in done.err
    assert "speed" in done.err


def test_progress_for_machines_goes_to_standard_error(mrpack: Mrpack, tiny_model: Path) -> None:
    done = mrpack("package", tiny_model, "m", "--progress", "json")
    events = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    assert {event["event"] for event in events} >= {"planned", "finished"}
    assert done.out.count("\n") == 1
    assert mrpack("package", tiny_model, "m2", "--quiet").err == ""


def test_a_reader_that_leaves_is_no_error(mrpack: Mrpack) -> None:
    code = subprocess.run(
        f"{sys.executable} -m mrpack --help | head -n 1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        env=mrpack.environment,
        capture_output=True,
        check=False,
    )
    assert code.returncode == 0, code


def test_a_reader_that_left_before_the_result_is_no_error(mrpack: Mrpack) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "mrpack", "completion", "bash"],
        env=mrpack.environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_two_files_of_one_name_do_not_fit(mrpack: Mrpack, tmp_path: Path) -> None:
    model = write_markov(tmp_path)
    licence = tmp_path / "elsewhere" / model.name
    licence.parent.mkdir()
    licence.write_text("not a model")
    done = mrpack("package", model, "m", "--license", licence, fails=7)
    assert model.name in done.last_line

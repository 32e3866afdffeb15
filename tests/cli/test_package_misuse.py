"""package, when options contradict each other or ask for what no engine could use: one line, nothing made."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.fakes.tiny_gguf import write_lora, write_markov, write_mmproj
from tests.fakes.tiny_peft import write_adapter
from tests.fakes.tiny_safetensors import write_llama, write_stable_diffusion
from tests.program import Mrpack


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    return write_markov(tmp_path)


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return write_llama(tmp_path / "llama")


def test_an_empty_source_is_not_the_folder_one_is_in(mrpack: Mrpack, tmp_path: Path) -> None:
    write_markov(tmp_path)
    assert "empty" in mrpack("package", "", "m", fails=2).err
    assert "empty" in mrpack("package", "--gguf", "", "m", fails=2).err
    assert "empty" in mrpack("package", "--license", "", "x.gguf", "m", fails=2).err


def test_an_empty_file_is_told_from_one_of_another_format(mrpack: Mrpack, tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").touch()
    assert mrpack("package", "cut.gguf", "m", fails=7).last_line == "mrpack: cut.gguf: is empty"


def test_a_file_whose_name_would_not_do_elsewhere_has_to_get_another(
    mrpack: Mrpack, tmp_path: Path, gguf: Path, llama: Path
) -> None:
    renamed = gguf.rename(tmp_path / "what?.gguf")
    assert mrpack("package", renamed, "m", fails=7).last_line.endswith("(rename the file)")
    (llama / "aux.txt").write_text("a device on Windows")
    (llama / "LICENSE").write_text("do what you want")
    (llama / "license").write_text("do it")
    refused = mrpack("package", llama, "m", "--include", "*", fails=7)
    assert refused.last_line.endswith("(rename the file, or leave it out with --exclude)")


def test_a_pipe_is_refused_and_not_waited_for(mrpack: Mrpack, tmp_path: Path, gguf: Path) -> None:
    for name in ("pipe", "pipe.gguf", "pipe.safetensors"):
        os.mkfifo(tmp_path / name)
    pipe = tmp_path / "pipe"
    assert "not a regular file" in mrpack("package", pipe, "m", fails=2).err
    assert "not a regular file" in mrpack("package", "--gguf", tmp_path / "pipe.gguf", "m", fails=2).err
    for option in ("--license", "--chat-template", "--mmproj", "--lora", "--overrides"):
        assert "regular file" in mrpack("package", gguf, "m", option, pipe, fails=2).err
    assert (
        "regular file" in mrpack("package", gguf, "m", "--lora", tmp_path / "pipe.safetensors", fails=2).err
    )


def test_what_no_engine_could_load_beside_the_weights_is_refused(
    mrpack: Mrpack, tmp_path: Path, gguf: Path, llama: Path
) -> None:
    peft, lora, mmproj = write_adapter(tmp_path / "peft"), write_lora(tmp_path), write_mmproj(tmp_path)
    pipeline = write_stable_diffusion(tmp_path / "sd")
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}")
    assert "GGUF adapters" in mrpack("package", gguf, "m", "--lora", peft, fails=2).err
    assert (
        "GGUF adapters"
        in mrpack("package", gguf, "m", "--lora", peft / "adapter_model.safetensors", fails=2).err
    )
    assert "Safetensors" in mrpack("package", llama, "m", "--lora", lora, fails=2).err
    assert "projector" in mrpack("package", llama, "m", "--mmproj", mmproj, fails=2).err
    assert "chat template" in mrpack("package", pipeline, "m", "--chat-template", template, fails=2).err
    mrpack("package", gguf, "m")
    assert "GGUF adapters" in mrpack("package", "--from", "m", "n", "--lora", peft, fails=2).err


@pytest.mark.parametrize(
    ("option", "value"),
    [("--include", "*.gguf"), ("--exclude", "*.md"), ("--quantization", "F16"), ("--as", "dduf")],
)
def test_options_for_folders_are_refused_with_a_stored_model(
    mrpack: Mrpack, gguf: Path, option: str, value: str
) -> None:
    mrpack("package", gguf, "m")
    assert (
        f"{option} does not go with --from"
        in mrpack("package", "--from", "m", "n", option, value, fails=2).err
    )


def test_options_that_would_have_no_effect_are_refused(mrpack: Mrpack, gguf: Path, llama: Path) -> None:
    assert "--include" in mrpack("package", gguf, "m", "--include", "*.x", fails=2).err
    assert "--exclude" in mrpack("package", gguf, "m", "--exclude", "*.x", fails=2).err
    assert "--quantization" in mrpack("package", llama, "m", "--quantization", "F16", fails=2).err
    mrpack("package", gguf, "m")
    refused = mrpack("package", "--from", "m", "n", "--file-metadata", "preserve", fails=2)
    assert "--file-metadata does not go with --from" in refused.err
    refused = mrpack("package", "--from", "m", "n", "--quantize", "Q4_0", fails=2)
    assert "--quantize does not go with --from" in refused.err


def test_a_context_size_said_twice_is_one(mrpack: Mrpack, gguf: Path) -> None:
    said = mrpack("package", gguf, "m", "--set", "context_size=12", "--context-size", "13", fails=2)
    assert "13" in said.err
    assert "12" in said.err
    mrpack("package", gguf, "m", "--set", "context_size=12", "--context-size", "12")
    mrpack("lint", "m")


def test_a_stored_setting_gives_way_to_a_new_context_size(mrpack: Mrpack, gguf: Path) -> None:
    mrpack("package", gguf, "m", "--set", "context_size=12")
    mrpack("package", "--from", "m", "n", "--context-size", "13")
    mrpack("lint", "n")
    assert mrpack("inspect", "n", "--json").json["context_size"] == 13


def test_weights_are_not_dropped(mrpack: Mrpack, gguf: Path) -> None:
    mrpack("package", gguf, "m")
    assert "no weights" in mrpack("package", "--from", "m", "n", "--drop", "weights", fails=2).err
    assert "no weights" in mrpack("package", "--from", "m", "n", "--drop", gguf.name, fails=2).err


def test_a_name_with_the_digest_of_something_else_is_refused(
    mrpack: Mrpack, tmp_path: Path, gguf: Path
) -> None:
    other = f"sha256:{'0' * 64}"
    digest = mrpack("package", gguf, "m").out.strip()
    for arguments in (
        ("package", str(gguf), f"n@{other}"),
        ("tag", "m", f"n@{other}"),
        ("copy", "oci:layout:m", f"oci:layout:n@{other}"),
    ):
        if arguments[0] == "copy":
            mrpack("export", "m", "m.tar")
            mrpack("copy", "oci-archive:m.tar", "oci:layout:m")
        assert digest in mrpack(*arguments, fails=6).err
    mrpack("tag", "m", f"n@{digest}")
    assert [row["reference"] for row in mrpack("list", "--json").json] == [
        "docker.io/ai/m:latest",
        f"docker.io/ai/n@{digest}",
    ]


def test_a_cache_entry_of_the_hub_is_not_packed_twice(mrpack: Mrpack, tmp_path: Path, llama: Path) -> None:
    entry = tmp_path / "models--org--llama"
    for name in ("blobs", "refs", "snapshots"):
        (entry / name).mkdir(parents=True)
    llama.rename(entry / "snapshots" / "abc")
    refused = mrpack("package", entry, "m", fails=2)
    assert "snapshots/abc" in refused.err
    mrpack("package", entry / "snapshots" / "abc", "m")


@pytest.mark.parametrize("epoch", ["99999999999999999999", "253402300800"])
def test_a_source_date_beyond_the_calendar_is_a_wrong_setting(mrpack: Mrpack, gguf: Path, epoch: str) -> None:
    assert "SOURCE_DATE_EPOCH" in mrpack("package", gguf, "m", fails=2, SOURCE_DATE_EPOCH=epoch).err


def test_a_creation_time_is_named_once(mrpack: Mrpack, gguf: Path) -> None:
    assert (
        "mrpack: creation time: not an RFC 3339 time"
        in mrpack("package", gguf, "m", "--created", "1", fails=2).err
    )


def test_a_derived_tag_is_told(mrpack: Mrpack, gguf: Path) -> None:
    assert "docker.io/ai/m:74K-F16:" in mrpack("package", gguf, "m", "--auto-tag").err.splitlines()


def test_an_adapter_of_peft_survives_another_packaging(mrpack: Mrpack, tmp_path: Path, llama: Path) -> None:
    first = mrpack("package", llama, "m", "--lora", write_adapter(tmp_path / "peft")).out
    mrpack("lint", "m")
    assert mrpack("package", "--from", "m", "n").out == first


def test_code_in_a_local_model_is_packaged_again_only_on_request(mrpack: Mrpack, llama: Path) -> None:
    (llama / "modeling.py").write_text("import os\n")
    mrpack("package", llama, "m", "--allow-code")
    assert "modeling.py: carries code" in mrpack("package", "--from", "m", "n", fails=7).err
    mrpack("package", "--from", "m", "n", "--drop", "modeling.py")
    mrpack("package", "--from", "m", "n", "--drop", "other")
    said = mrpack("package", "--from", "m", "n", "--allow-code", "--json").json
    assert said["digest"] == mrpack("inspect", "m", "--json").json["digest"]


def test_a_file_that_is_not_there_is_told_before_the_registry_is_asked(mrpack: Mrpack) -> None:
    attach = ("attach", "report.json", "127.0.0.1:1/m", "--type", "application/json")
    assert "report.json" in mrpack(*attach, fails=3).err


def test_an_annotation_that_is_given_twice_is_refused(mrpack: Mrpack, gguf: Path) -> None:
    twice = ("--annotation", "a=b", "--annotation", "a=c")
    assert "'a' is given twice" in mrpack("package", gguf, "m", *twice, fails=2).err
    assert "'ab'" in mrpack("package", gguf, "m", "--annotation", "ab", fails=2).err


def test_a_list_without_a_hit_does_not_say_that_there_is_nothing(mrpack: Mrpack, gguf: Path) -> None:
    mrpack("package", gguf, "m")
    assert "'other'" in mrpack("list", "other").err


def test_hashing_and_writing_are_shown(mrpack: Mrpack, tmp_path: Path) -> None:
    pipeline = write_stable_diffusion(tmp_path / "sd")
    lines = mrpack("package", pipeline, "m", "--as", "dduf", "--progress", "json").err.splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    worked = [event for event in events if event["event"] == "worked" and event["position"] == event["size"]]
    assert {event["what"] for event in worked} >= {"writing model_index.json", "hashing sd.dduf"}


def test_a_layout_is_filled_by_a_push(mrpack: Mrpack, gguf: Path) -> None:
    assert "mrpack push NAME oci:layout:v1" in mrpack("package", gguf, "oci:layout:v1", fails=2).err
    mrpack("package", gguf, "m")
    mrpack("push", "m", "oci:layout:v1")
    assert "no such file or folder: ./none" in mrpack("lint", "./none", fails=3).err

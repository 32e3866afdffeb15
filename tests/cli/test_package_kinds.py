"""package, with every kind of source, dialect and setting, through every kind of target."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.tiny_gguf import write_markov
from tests.fakes.tiny_safetensors import write_llama, write_stable_diffusion
from tests.program import Mrpack


def overrides_of(mrpack: Mrpack, model: str) -> dict[str, object]:
    files = mrpack("resolve", model, "--json").json["files"]
    return json.loads(next(Path(file["path"]) for file in files if file["role"] == "overrides").read_bytes())


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    from mrpack.formats.dduf import write_dduf
    from mrpack.packing.walk import Choice, walk
    from mrpack.readable import open_file

    diffusers = write_stable_diffusion(tmp_path / "sd")
    dduf = tmp_path / "sd.dduf"
    write_dduf([open_file(file, path) for path, file in walk(diffusers, Choice())], dduf)
    return {
        "gguf": write_markov(tmp_path),
        "safetensors": write_llama(tmp_path / "llama"),
        "diffusers": diffusers,
        "dduf": dduf,
    }


@pytest.mark.parametrize("kind", ["gguf", "safetensors", "diffusers", "dduf"])
@pytest.mark.parametrize("dialect", ["docker", "cncf"])
def test_every_kind_in_every_dialect_goes_round_and_comes_back(
    mrpack: Mrpack, sources: dict[str, Path], tmp_path: Path, kind: str, dialect: str
) -> None:
    source = sources[kind]
    packaged = mrpack("package", f"--{kind}", source, "m:v1", "--format", dialect, "--json").json
    assert packaged["digest"] == mrpack("package", source, "m:v1", "--format", dialect).out.strip()
    store = tmp_path / "home" / ".local" / "share" / "mrpack" / "store"
    layout = f"oci:{tmp_path}/layout:v1"
    assert mrpack("copy", f"oci:{store}:docker.io/ai/m:v1", layout, "-q").out.strip() == packaged["digest"]
    shown = mrpack("inspect", layout, "--json").json
    assert (shown["digest"], shown["dialect"]) == (packaged["digest"], dialect)
    assert shown["format"] == kind
    folder = Path(mrpack("resolve", "m", "--json").json["folder"])
    wanted = (
        {source.name: source}
        if source.is_file()
        else {str(path.relative_to(source)): path for path in source.rglob("*") if path.is_file()}
    )
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == {
        name: path.read_bytes() for name, path in wanted.items()
    }
    other = "cncf" if dialect == "docker" else "docker"
    mrpack("copy", layout, f"oci:{tmp_path}/layout:other", "--format", other, "-q")
    converted = mrpack("inspect", f"oci:{tmp_path}/layout:other", "--json").json
    assert converted["dialect"] == other
    assert [file["digest"] for file in converted["files"]] == [file["digest"] for file in shown["files"]]


def test_also_costs_a_config_and_a_manifest(mrpack: Mrpack, tiny_model: Path, tmp_path: Path) -> None:
    done = mrpack("package", tiny_model, "m:v1", "--also", "cncf", "--json").json
    assert done["also"]["reference"] == "docker.io/ai/m:v1-cncf"
    assert mrpack("inspect", "m:v1-cncf", "--json").json["digest"] == done["also"]["digest"]
    blobs = list((tmp_path / "home").rglob("blobs/sha256/*"))
    assert len([blob for blob in blobs if blob.stat().st_size > 50_000]) == 1
    mrpack("package", tiny_model, "m:v2", "--also", "docker", fails=2)


def test_settings_travel_and_are_changed_without_the_weights(mrpack: Mrpack, tiny_model: Path) -> None:
    mrpack(
        *("package", tiny_model, "m:v1", "--set", "sampling.temperature=0.5", "--set", "context_size=128"),
        *("--hf-overrides", '{"max_model_len": 64, "rope_theta": 5}'),
    )
    document = overrides_of(mrpack, "m:v1")
    assert document["sampling"] == {"temperature": 0.5}
    assert document["vllm"]["hf_overrides"] == {"rope_theta": 5}
    assert mrpack("inspect", "m:v1", "--json").json["context_size"] == 128
    tiny_weights = mrpack("inspect", "m:v1", "--json").json["files"][0]["digest"]
    mrpack(
        "package",
        "--from",
        "m:v1",
        "--set",
        "sampling.temperature=null",
        "--set",
        "sampling.top_p=0.9",
        "m:v2",
    )
    assert overrides_of(mrpack, "m:v2")["sampling"] == {"top_p": 0.9}
    assert mrpack("inspect", "m:v2", "--json").json["files"][0]["digest"] == tiny_weights
    mrpack("package", "--from", "m:v2", "--drop", "overrides", "m:v3")
    assert len(mrpack("inspect", "m:v3", "--json").json["files"]) == 1


def test_a_tag_is_derived(mrpack: Mrpack, tiny_model: Path) -> None:
    done = mrpack("package", tiny_model, "m", "--auto-tag", "--json").json
    assert done["reference"].endswith("-F16")
    mrpack("package", tiny_model, "m:v1", "--auto-tag", fails=2)


def test_annotations_reach_the_manifest(mrpack: Mrpack, tiny_model: Path) -> None:
    mrpack("package", tiny_model, "m", "--annotation", "org.opencontainers.image.title=Tiny")
    assert mrpack("inspect", "m", "--json").json["annotations"] == {"org.opencontainers.image.title": "Tiny"}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--set", "temperature=1"], 2, "sampling.temperature"),
        (["--set", "sampling.temperature=warm"], 2, "warm"),
        (["--set", "nothing"], 2, "KEY=VALUE"),
        (["--hf-overrides", "{"], 2, "JSON"),
        (["--hf-overrides", '{"a-b": 1}'], 7, "a-b"),
        (["--overrides", "absent.json"], 3, "absent.json"),
        (["--overrides", "bad.json"], 7, "bad.json"),
        (["--annotation", "novalue"], 2, "novalue"),
        (["--drop", "license"], 2, "--from"),
        (["--format", "other"], 2, "other"),
    ],
)
def test_a_wrong_wish_is_one_line(
    mrpack: Mrpack, tiny_model: Path, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    (tmp_path / "bad.json").write_text('{"llamacpp": {"model": "/etc/passwd"}}')
    assert says in mrpack("package", tiny_model, "m", *arguments, fails=code).last_line


def test_code_is_refused_unless_allowed_and_then_named(mrpack: Mrpack, sources: dict[str, Path]) -> None:
    folder = sources["safetensors"]
    (folder / "modeling_evil.py").write_text("import os")
    refused = mrpack("package", folder, "m", fails=7)
    assert "modeling_evil.py" in refused.last_line
    assert "--allow-code" in refused.last_line
    assert mrpack("package", folder, "m", "--exclude", "*.py").code == 0
    mrpack("package", folder, "m:code", "--allow-code")
    annotations = mrpack("inspect", "m:code", "--json").json["annotations"]
    assert annotations["io.mrpack.code"] == "modeling_evil.py"


def test_a_folder_of_many_files_packs_and_comes_back(mrpack: Mrpack, sources: dict[str, Path]) -> None:
    folder = sources["safetensors"]
    for number in range(2_000):
        (folder / f"extra-{number}.txt").write_text(str(number))
    mrpack("package", folder, "m", "-q")
    assert len(mrpack("inspect", "m", "--json").json["files"]) > 2_000
    assert "all content" in mrpack("verify").err

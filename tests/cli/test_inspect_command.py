"""What inspect shows of quantizations and of code, and what pull says about code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documented_keys import checked
from tests.fakes.other_tools import write_artifact
from tests.fakes.tiny_safetensors import write_qwen2, write_stable_diffusion
from tests.program import Mrpack


def test_the_quantization_is_explained(mrpack: Mrpack, tiny_model: Path) -> None:
    mrpack("package", tiny_model, "m")
    assert "F16 (16 bits per weight: no visible loss)" in mrpack("inspect", "m").out
    shown = mrpack("inspect", "m", "--json").json
    assert (shown["quantization"], shown["bits_per_weight"]) == ("MOSTLY_F16", 16)
    assert shown["quantization_note"] == "no visible loss"


def test_the_settings_that_come_with_a_model_are_shown(
    mrpack: Mrpack, tiny_model: Path, registry: str
) -> None:
    name = f"{registry}/team/m:v1"
    settings = ("--set", "context_size=64", "--set", 'sampling.stop=["a"]', "--set", "keep_alive=1h")
    mrpack("package", tiny_model, name, *settings, "-q")
    mrpack("push", name, "-q")
    for where in ([name], ["--remote", name]):
        shown = mrpack("inspect", *where, "--json").json["settings"]
        assert shown == {"context_size": 64, "keep_alive": "1h", "sampling": {"stop": ["a"]}}
        told = mrpack("inspect", *where).out
        assert "Settings:     context_size=64\n              keep_alive=1h\n" in told
        assert '              sampling.stop=["a"]\n' in told


def test_the_whole_table_is_printed(mrpack: Mrpack) -> None:
    rows = mrpack("inspect", "--quantizations", "--json").json
    checked("inspect --quantizations, a list", rows[0])
    q4 = next(row for row in rows if row["name"] == "Q4_K_M")
    assert q4 == {
        "name": "Q4_K_M",
        "label": "MOSTLY_Q4_K_M",
        "bits_per_weight": 4.8944,
        "tensor_type": "Q4_K",
        "file_type": 15,
        "note": "small loss; the usual choice",
        "aliases": ["Q4_K"],
        "needs_importance_matrix": False,
        "removed": False,
    }
    text = mrpack("inspect", "--quantizations").out
    assert "Q4_K_M" in text
    assert "Q4_0_4_8" not in text
    mrpack("inspect", "m", "--quantizations", fails=2)
    mrpack("inspect", fails=2)


@pytest.mark.parametrize("kind", ["safetensors", "dduf"])
def test_code_is_shown_though_the_manifest_keeps_silent(
    mrpack: Mrpack, tmp_path: Path, home: Path, kind: str
) -> None:
    if kind == "dduf":
        folder = write_stable_diffusion(tmp_path / "sd")
        (folder / "unet" / "config.json").write_text('{"auto_map": {"AutoModel": "evil--x.Model"}}')
        mrpack("package", folder, "--as", "dduf", "honest", "--allow-code")
        path = Path(mrpack("resolve", "honest").out.strip())
        files, evil = {"m.dduf": path.read_bytes()}, "unet/config.json"
    else:
        folder = write_qwen2(tmp_path / "qwen")
        (folder / "modeling_evil.py").write_text("import os")
        files, evil = {path.name: path.read_bytes() for path in folder.iterdir()}, "modeling_evil.py"
    store = home / ".local/share/mrpack/store"
    write_artifact("modelpack raw", files, store, "docker.io/ai/silent:latest")
    shown = mrpack("inspect", "silent", "--json").json
    assert shown["annotations"] == {}
    assert [checked("inspect: code", item)["path"] for item in shown["code"]] == [evil]
    assert f"Code:         {evil}" in mrpack("inspect", "silent").out


def test_pull_warns_about_code_in_one_line(mrpack: Mrpack, tmp_path: Path, tiny_model: Path) -> None:
    folder = write_qwen2(tmp_path / "qwen")
    (folder / "modeling_evil.py").write_text("import os")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_artifact("modelpack raw", files, tmp_path / "theirs", "docker.io/ai/evil:latest")
    write_artifact(
        "oras", {"m.gguf": tiny_model.read_bytes()}, tmp_path / "theirs", "docker.io/ai/fine:latest"
    )
    theirs = f"oci:{tmp_path}/theirs"
    pulled = mrpack("pull", f"{theirs}:docker.io/ai/evil:latest")
    (line,) = (line for line in pulled.err.splitlines() if "carries code" in line)
    assert "modeling_evil.py" in line
    assert "carries code" not in mrpack("pull", f"{theirs}:docker.io/ai/fine:latest").err

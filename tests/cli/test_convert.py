"""What `copy --format` and `package --from` say about artifacts of other tools."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.other_tools import write_artifact
from tests.fakes.tiny_safetensors import write_qwen2
from tests.program import Mrpack


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("tool", ["ollama", "kitops"])
def test_settings_come_along_and_what_cannot_is_said(
    mrpack: Mrpack, tiny_model: Path, tmp_path: Path, tool: str
) -> None:
    write_artifact(tool, {"tiny.gguf": tiny_model.read_bytes()}, tmp_path / "theirs", "v1")
    done = mrpack("package", "--from", f"oci:{tmp_path}/theirs:v1", "m", "--set", "sampling.top_k=5")
    assert "not taken over" in done.err
    assert "mirostat" in done.err
    assert ("system prompt" in done.err) is (tool == "ollama")
    folder = Path(mrpack("resolve", "m", "--json").json["folder"])
    document = json.loads((folder / "mrpack.json").read_bytes())
    assert document == {"context_size": 64, "sampling": {"temperature": 0.25, "top_k": 5}}
    copied = mrpack("copy", "--format", "docker", f"oci:{tmp_path}/theirs:v1", f"oci:{tmp_path}/ours:v1")
    assert "mirostat" in copied.err


def test_code_in_an_archive_is_found(mrpack: Mrpack, tmp_path: Path) -> None:
    files = {**contents(write_qwen2(tmp_path / "qwen")), "modeling_evil.py": b"import os"}
    write_artifact("modelcar", files, tmp_path / "theirs", "v1")
    refused = mrpack("package", "--from", f"oci:{tmp_path}/theirs:v1", "m", fails=7)
    assert "modeling_evil.py" in refused.last_line
    mrpack("package", "--from", f"oci:{tmp_path}/theirs:v1", "--drop", "modeling_evil.py", "m")
    assert "io.mrpack.code" not in mrpack("inspect", "m", "--json").json["annotations"]
    mrpack("package", "--from", f"oci:{tmp_path}/theirs:v1", "--allow-code", "m")
    assert mrpack("inspect", "m", "--json").json["annotations"]["io.mrpack.code"] == "modeling_evil.py"
    mrpack("copy", "--format", "docker", f"oci:{tmp_path}/theirs:v1", f"oci:{tmp_path}/ours:v1")
    annotations = mrpack("inspect", f"oci:{tmp_path}/ours:v1", "--json").json["annotations"]
    assert annotations["io.mrpack.code"] == "modeling_evil.py"

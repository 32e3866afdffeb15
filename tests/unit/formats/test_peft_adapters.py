"""LoRA adapters for Safetensors models: packed from PEFT's folder, and told from weights afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrpack.errors import InvalidArtifact, NotFound
from mrpack.model.layer import LayerRole
from tests.fakes.tiny_peft import write_adapter
from tests.fakes.tiny_safetensors import write_llama
from tests.program import Mrpack


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_llama(tmp_path / "model")


@pytest.mark.parametrize("dialect", ["docker", "cncf"])
def test_an_adapter_stays_one_in_every_dialect(mrpack: Mrpack, model: Path, tmp_path: Path, dialect):
    adapter = write_adapter(tmp_path / "style")
    mrpack("package", "--safetensors", model, "--lora", adapter, "--format", dialect, "tiny")
    files = {file["path"]: file["role"] for file in mrpack("inspect", "--json", "tiny").json["files"]}
    assert files["style/adapter_model.safetensors"] == LayerRole.ADAPTER
    assert files["style/adapter_config.json"] == LayerRole.CONFIG
    assert files["model.safetensors"] == LayerRole.WEIGHTS
    assert "style/README.md" not in files


def test_a_folder_that_is_no_adapter_is_refused(mrpack: Mrpack, model: Path, tmp_path: Path):
    adapter = write_adapter(tmp_path / "style")
    (adapter / "adapter_model.safetensors").write_bytes(b"no weights")
    mrpack("package", "--safetensors", model, "--lora", adapter, "tiny", fails=InvalidArtifact.exit_code)
    (adapter / "adapter_config.json").unlink()
    mrpack("package", "--safetensors", model, "--lora", adapter, "tiny", fails=NotFound.exit_code)

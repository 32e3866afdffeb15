"""Settings that models bring in other words than ours count when they are served, each with its origin."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from mrpack.model.overrides import Effective, Origin, Overrides, Sourced, parse_setting
from mrpack.packing.plan import Wishes
from mrpack.verbs.package import PackageRequest, package
from mrpack.workspace import Workspace, open_workspace
from mrpack_runtime.engine import Operation
from mrpack_runtime.engines.llamacpp import ENGINE
from mrpack_runtime.models.store_library import StoreLibrary
from mrpack_runtime.settings.merged import CommandSettings, effective_settings, model_settings
from tests.fakes.other_tools import write_artifact
from tests.fakes.tiny_safetensors import write_qwen2

NAME = "docker.io/ai/m:latest"


@pytest.fixture
def workspace(home: Path) -> Workspace:
    return open_workspace({"MRPACK_HOME": str(home), "MRPACK_CONFIG_HOME": str(home)})


def effective(workspace: Workspace, *, command: str = "") -> Effective:
    overrides = parse_setting(command) if command else Overrides()
    return effective_settings(StoreLibrary(workspace).find("m"), CommandSettings(overrides=overrides))


@pytest.mark.parametrize("tool", ["ollama", "kitops"])
def test_another_tools_settings_are_served(
    workspace: Workspace, tiny_model: Path, home: Path, tool: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_artifact(tool, {"tiny.gguf": tiny_model.read_bytes()}, home / "store", NAME)
    found = effective(workspace).settings
    assert found["sampling.temperature"] == Sourced(0.25, Origin.OTHER_TOOL)
    assert found["context_size"] == Sourced(64, Origin.OTHER_TOOL)
    above = effective(workspace, command="sampling.temperature=1")
    assert above.settings["sampling.temperature"] == Sourced(1, Origin.COMMAND)
    with caplog.at_level(logging.INFO):
        settings = model_settings(
            StoreLibrary(workspace).find("m"), ENGINE, Operation.COMPLETION, CommandSettings()
        )
    assert settings.sampling["temperature"] == 0.25
    assert "mirostat" in caplog.text


def test_what_model_files_say_comes_before_the_artifact(workspace: Workspace, tmp_path: Path) -> None:
    folder = write_qwen2(tmp_path / "qwen")
    written = {"temperature": 0.7, "top_p": 0.8, "num_beams": 4, "eos_token_id": 1}
    (folder / "generation_config.json").write_text(json.dumps(written))
    wishes = Wishes(overrides=parse_setting("sampling.top_p=0.5"))
    package(workspace, PackageRequest(source=folder, wishes=wishes), "m")
    found = effective(workspace).settings
    assert found["sampling.temperature"] == Sourced(0.7, Origin.MODEL_FILES)
    assert found["sampling.top_p"] == Sourced(0.5, Origin.ARTIFACT)


@pytest.mark.parametrize("content", ["{", "[]", '{"temperature": "hot", "top_k": null}', " " * 100_000])
def test_a_generation_config_that_is_broken_ends_nothing(
    workspace: Workspace, tmp_path: Path, content: str
) -> None:
    folder = write_qwen2(tmp_path / "qwen")
    (folder / "generation_config.json").write_text(content)
    package(workspace, PackageRequest(source=folder, wishes=Wishes(allow_code=True)), "m")
    assert not any(key.startswith("sampling.") for key in effective(workspace).settings)

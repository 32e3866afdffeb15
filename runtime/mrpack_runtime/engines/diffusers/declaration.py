"""Diffusers' declaration: what it opens, how it is found, and the image server that it is started as."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from mrpack.errors import Unsupported
from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import (
    EngineSettings,
    Installation,
    Launch,
    LaunchRequest,
    ModelBundle,
    Needs,
    Operation,
    find_installation,
)
from mrpack_runtime.engine.child import child_launch
from mrpack_runtime.engines.diffusers.memory import memory
from mrpack_runtime.engines.diffusers.pipeline_folder import pipeline_folder
from mrpack_runtime.engines.diffusers.symptoms import SYMPTOMS
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.machine.memory import Memory
from mrpack_runtime.settings.own import checked

_PACKAGE: Final = "diffusers"
_NEEDED: Final = ("torch", "transformers", "pillow")
# What Diffusers loads LoRA adapters with.
_ADAPTERS: Final = "peft"
_CHILD: Final = Path(__file__).with_name("run_image_server.py")
_WEIGHTS: Final = ".safetensors"
# Of processors that compute with bfloat16 in hardware; Intel's first ones had AVX-512 BF16 alone.
_BFLOAT16: Final = frozenset({"amx", "amx_bf16", "avx512_bf16", "bf16"})


class Diffusers:
    name = _PACKAGE
    formats = frozenset({"dduf", "diffusers"})
    operations = frozenset({Operation.IMAGE_GENERATION})
    install_hint = "mrpack install-runner --backend diffusers"

    def installations(self, host: HostFacts) -> tuple[Installation, ...]:
        found = find_installation(host, _PACKAGE, *_NEEDED)
        return (found,) if found else ()

    def unsupported_reason(self, host: HostFacts, config: ModelConfig) -> str | None:
        del config  # its classes are looked at when it is started
        if host.os == "windows":
            return "its server listens on a Unix socket, and this is Windows"
        half = [python for python, _ in host.pythons_with(_PACKAGE)]
        if half and not self.installations(host):
            lacking = next(name for name in _NEEDED if not half[0].find_distribution(name))
            return f"{half[0].executable} has diffusers, and no {lacking}"
        return None

    def memory(
        self, installation: Installation, bundle: ModelBundle, settings: EngineSettings, host: HostFacts
    ) -> Memory:
        del installation
        halves = bundle.config.quantization in {"F16", "BF16"}
        widened = halves and host.cpu_features.isdisjoint(_BFLOAT16)
        return memory(bundle, checked(_PACKAGE, settings.own), host, widened=widened)

    def launch(self, request: LaunchRequest) -> Launch:
        bundle, settings, host = request.bundle, request.settings, request.host
        if settings.operation not in self.operations:
            raise Unsupported(f"{self.name} has no {settings.operation}")
        own = checked(_PACKAGE, settings.own)
        folder, pipeline = pipeline_folder(bundle)
        _check_adapters(request)
        specification = {
            "socket": str(request.socket),
            "folder": str(folder),
            "pipeline": pipeline.class_name,
            "adapters": [str(path) for path in bundle.adapters],
            "name": bundle.name,
            "threads": settings.threads or host.physical_cores,
            "bfloat16": not host.cpu_features.isdisjoint(_BFLOAT16),
            "memory": host.memory,
            "settings": own,
        }
        launch = child_launch(self.name, request, _CHILD, specification)
        return replace(launch, symptoms=SYMPTOMS, needs=Needs(read=(folder,)))


def _check_adapters(request: LaunchRequest) -> None:
    """Raises Unsupported."""
    adapters = request.bundle.adapters
    odd = next((path for path in adapters if path.suffix != _WEIGHTS), None)
    if odd is not None:
        raise Unsupported(f"LoRA adapters for Diffusers are {_WEIGHTS} files, and this is {odd.name}")
    if adapters and not request.has_package(_ADAPTERS):
        where = request.installation.where
        raise Unsupported(
            f"LoRA adapters need the package {_ADAPTERS} in {where}",
            hint=f"{where} -m pip install {_ADAPTERS}",
        )


ENGINE: Final = Diffusers()

"""Diffusers' declaration: what it opens, how it is found, and the image server that it is started as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from mrpack.errors import Unsupported, UsageError
from mrpack.model.config import ModelConfig
from mrpack.model.overrides import BY_KEY
from mrpack_runtime.endpoint import UnixEndpoint
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
from mrpack_runtime.engines.diffusers.memory import memory
from mrpack_runtime.engines.diffusers.pipeline_folder import pipeline_folder
from mrpack_runtime.engines.diffusers.symptoms import SYMPTOMS
from mrpack_runtime.host import HostFacts, PythonEnvironment
from mrpack_runtime.memory import Memory

_PACKAGE: Final = "diffusers"
_NEEDED: Final = ("torch", "transformers", "pillow")
# What Diffusers loads LoRA adapters with.
_ADAPTERS: Final = "peft"
_CHILD: Final = Path(__file__).with_name("run_image_server.py")
_SOCKET_NAME: Final = "engine.sock"
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
        return memory(bundle, _checked(settings), host, widened=widened)

    def launch(self, request: LaunchRequest) -> Launch:
        installation, bundle, settings = request.installation, request.bundle, request.settings
        host = request.host
        if settings.operation not in self.operations:
            raise Unsupported(f"{self.name} has no {settings.operation}")
        own = _checked(settings)
        folder, pipeline = pipeline_folder(bundle)
        _check_adapters(bundle, installation, host.pythons)
        socket = request.run_folder / _SOCKET_NAME
        specification = {
            "socket": str(socket),
            "folder": str(folder),
            "pipeline": pipeline.class_name,
            "adapters": [str(path) for path in bundle.adapters],
            "name": bundle.name,
            "threads": settings.threads or host.physical_cores,
            "bfloat16": not host.cpu_features.isdisjoint(_BFLOAT16),
            "memory": host.memory,
            "settings": own,
        }
        return Launch(
            engine=self.name,
            launcher=installation.launcher,
            version=installation.version,
            argv=(installation.where, "-I", str(_CHILD), json.dumps(specification)),
            environment={},
            endpoint=UnixEndpoint(socket),
            why=f"{installation.launcher} in {installation.where}",
            symptoms=SYMPTOMS,
            needs=Needs(read=(folder,)),
        )


def _checked(settings: EngineSettings) -> dict[str, Any]:
    """Raises UsageError for a setting that is not in the table, or a value that it does not take."""
    found = {}
    for name, value in settings.own.items():
        setting = BY_KEY.get(f"{_PACKAGE}.{name}")
        if setting is None:
            raise UsageError(f"{_PACKAGE}.{name[:60]} is not a setting")
        if wanted := setting.kind.refusal(value):
            raise UsageError(f"{_PACKAGE}.{name} must be {wanted}, not {str(value)[:60]!r}")
        found[name] = setting.kind.canonical(value)
    return found


def _check_adapters(
    bundle: ModelBundle, installation: Installation, pythons: tuple[PythonEnvironment, ...]
) -> None:
    """Raises Unsupported."""
    if not bundle.adapters:
        return
    odd = next((path for path in bundle.adapters if path.suffix != _WEIGHTS), None)
    if odd is not None:
        raise Unsupported(f"LoRA adapters for Diffusers are {_WEIGHTS} files, and this is {odd.name}")
    python = next((python for python in pythons if str(python.executable) == installation.where), None)
    if python is not None and python.find_distribution(_ADAPTERS) is None:
        raise Unsupported(
            f"LoRA adapters need the package {_ADAPTERS} in {installation.where}",
            hint=f"{installation.where} -m pip install {_ADAPTERS}",
        )


ENGINE: Final = Diffusers()

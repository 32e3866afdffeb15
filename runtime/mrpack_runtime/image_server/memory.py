"""How much memory is free where a pipeline computes."""

# pyright: reportMissingImports=false

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch


def free_memory(device: str, machine: int) -> int:
    """In bytes, about. `machine`: of this machine's memory, what we may use (a container may have less)."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.startswith("mps"):
        return int(torch.mps.recommended_max_memory()) - int(torch.mps.driver_allocated_memory())
    return min(_available(), machine - _resident())


def _available() -> int:
    """As Linux estimates it; elsewhere all that there is."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _resident() -> int:
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    return 0

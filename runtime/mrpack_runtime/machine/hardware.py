"""The machine below the accelerators: processor, memory, NUMA nodes and the libraries of the system."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mrpack_runtime.machine.accelerators import read

# Of /proc/cpuinfo: what engines are compiled for, in the words of the kernel for x86 and ARM.
_FEATURES: Final = {
    "avx": "avx",
    "avx2": "avx2",
    "f16c": "f16c",
    "fma": "fma",
    "avx512f": "avx512",
    "avx512_bf16": "avx512_bf16",
    "amx_tile": "amx",
    "asimd": "neon",
    "asimddp": "dotprod",
    "sve": "sve",
    "i8mm": "i8mm",
    "bf16": "bf16",
}
# Looked for by name: engines load them, and no wheel carries them.
LIBRARIES: Final = ("libnuma.so.1", "libvulkan.so.1", "libOpenCL.so.1")
_LIBRARY_FOLDERS: Final = ("lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib")


def usable_cpus() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def cgroup_cpus(root: Path) -> int | None:
    """Whole processors of a cgroup v2 quota, at least one; None without a quota."""
    match = re.fullmatch(r"(\d+) (\d+)\s*", read(root / "sys/fs/cgroup/cpu.max"))
    return max(1, round(int(match[1]) / int(match[2]))) if match else None


def physical_cores(root: Path, cpus: Iterable[int]) -> int:
    numbers = frozenset(cpus)
    siblings = {
        read(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") for cpu in numbers
    }
    return len(numbers) if siblings == {""} else len(siblings)


def usable_memory(root: Path) -> int:
    """Bytes: the machine's, or a cgroup v2 limit below that."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = read(root / "sys/fs/cgroup/memory.max").strip()
    return min(physical, int(limit)) if limit.isdecimal() else physical


def available_memory(root: Path) -> int | None:
    """Bytes that programs could have now; None where nobody tells."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", read(root / "proc/meminfo"), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def cpu_features(root: Path, system: str, machine: str) -> frozenset[str]:
    """Such as avx2, avx512, amx, neon; empty where nobody tells."""
    if system == "macos" and machine == "arm64":
        return frozenset({"neon", "dotprod"})
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", read(root / "proc/cpuinfo"), re.MULTILINE)
    words = match[1].split() if match else []
    return frozenset(_FEATURES[word] for word in words if word in _FEATURES)


def numa_nodes(root: Path) -> int:
    """Nodes with processors; one where nobody tells."""
    nodes = (root / "sys/devices/system/node").glob("node[0-9]*/cpulist")
    return max(1, sum(bool(read(path).strip()) for path in nodes))


def libraries(root: Path, search: Iterable[Path] = ()) -> frozenset[str]:
    """Those of LIBRARIES that the dynamic linker would find; `search` as in LD_LIBRARY_PATH."""
    try:
        cache = (root / "etc/ld.so.cache").read_bytes()
    except OSError:  # musl has none
        cache = b""
    known = {name for name in LIBRARIES if re.search(rb"[/\0]" + re.escape(name.encode()) + rb"\0", cache)}
    folders = [*search, *(root / folder for folder in _LIBRARY_FOLDERS)]
    return frozenset(
        name for name in LIBRARIES if name in known or any((folder / name).exists() for folder in folders)
    )


def glibc_version() -> tuple[int, int] | None:
    """None with another C library."""
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return None
    match = re.fullmatch(r"glibc (\d+)\.(\d+).*", text)
    return (int(match[1]), int(match[2])) if match else None

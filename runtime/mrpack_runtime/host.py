"""HostFacts: what engines may know about this machine; probed once and handed to everyone."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

# All that an engine sees of our environment. No tokens, no proxies, no PYTHON*, and nothing that engines read
# as configuration (llama_cpp.server takes MODEL, HOST, PORT, N_CTX and many more from the environment).
_ENGINE_VARIABLES: Final = frozenset(
    {
        "PATH",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "CUDA_VISIBLE_DEVICES",
        "CUDA_DEVICE_ORDER",
        "NVIDIA_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "HSA_OVERRIDE_GFX_VERSION",
        "GGML_VK_VISIBLE_DEVICES",
        "ONEAPI_DEVICE_SELECTOR",
        "OMP_NUM_THREADS",
        "SYSTEMROOT",
    }
)
_ARCHITECTURES: Final = {"amd64": "x86_64", "aarch64": "arm64"}
_SYSTEMS: Final = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """`api` is `cuda`, `rocm` or `metal`; `memory` in bytes, None when no file tells it."""

    api: str
    name: str
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class PythonEnvironment:
    """A Python that may hold an engine: ours, or a virtual environment made for one engine."""

    executable: Path
    site_packages: tuple[Path, ...]

    def find_distribution(self, name: str) -> Distribution | None:
        """Reads package metadata only; nothing is imported."""
        paths = [str(path) for path in self.site_packages]
        return next(iter(distributions(name=name, path=paths)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """`os`: linux, macos or windows; `arch`: x86_64, arm64, …; `memory`: bytes that we may use.

    `cpu_count`: logical processors that we may use (affinity and cgroup quota count); `physical_cores` the
    same without hyper-threads. `programs` are paths that the user configured: they win over `search_path`
    (PATH). `environment` holds only what an engine may see.
    """

    os: str
    arch: str
    cpu_count: int
    physical_cores: int
    memory: int
    programs: Mapping[str, Path] = field(default_factory=dict)
    search_path: tuple[Path, ...] = ()
    pythons: tuple[PythonEnvironment, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[Gpu, ...] = ()

    def find_program(self, name: str) -> Path | None:
        """The executable on PATH; a configured one is in `programs`."""
        found = shutil.which(name, path=os.pathsep.join(str(folder) for folder in self.search_path))
        return Path(found) if found else None


def probe_host(
    environment: Mapping[str, str],
    *,
    programs: Mapping[str, Path] | None = None,
    engine_environments: Iterable[Path] = (),
) -> HostFacts:
    """Facts of the machine we run on; `engine_environments` are virtual environments made for engines."""
    cpus = _usable_cpus()
    quota = _cgroup_cpus()
    cpu_count = min(len(cpus), quota) if quota else len(cpus)
    return HostFacts(
        os=_SYSTEMS.get(platform.system(), platform.system().lower()),
        arch=_ARCHITECTURES.get(platform.machine().lower(), platform.machine().lower()),
        cpu_count=cpu_count,
        physical_cores=min(_physical_cores(cpus), cpu_count),
        memory=_usable_memory(),
        programs=dict(programs or {}),
        search_path=tuple(
            Path(part) for part in environment.get("PATH", os.defpath).split(os.pathsep) if part
        ),
        pythons=(_own_python(), *_engine_pythons(engine_environments)),
        environment={name: value for name, value in environment.items() if name in _ENGINE_VARIABLES},
        gpus=_gpus(),
    )


def _own_python() -> PythonEnvironment:
    return PythonEnvironment(Path(sys.executable), tuple(Path(part) for part in sys.path if part))


def _engine_pythons(folders: Iterable[Path]) -> Iterable[PythonEnvironment]:
    for folder in folders:
        executable = folder / "bin" / "python"
        if executable.exists():
            yield PythonEnvironment(executable, tuple(sorted(folder.glob("lib/python3*/site-packages"))))


def _usable_cpus() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _cgroup_cpus() -> int | None:
    """Whole processors of a cgroup v2 quota, at least one; None without a quota."""
    match = re.fullmatch(r"(\d+) (\d+)\s*", _read("/sys/fs/cgroup/cpu.max"))
    return max(1, round(int(match[1]) / int(match[2]))) if match else None


def _physical_cores(cpus: frozenset[int]) -> int:
    siblings = {_read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") for cpu in cpus}
    return len(cpus) if siblings == {""} else len(siblings)


def _usable_memory() -> int:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    return min(physical, int(limit)) if limit.isdecimal() else physical


def _gpus() -> tuple[Gpu, ...]:
    """What the drivers show as files; no driver library is loaded."""
    found: list[Gpu] = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        match = re.search(r"^Model:\s*(.+)$", _read(path), re.MULTILINE)
        found.append(Gpu(api="cuda", name=match[1] if match else "NVIDIA"))
    if Path("/dev/kfd").exists():
        found.extend(
            Gpu(api="rocm", name="AMD", memory=int(_read(path)))
            for path in sorted(Path("/sys/class/drm").glob("card*/device/mem_info_vram_total"))
        )
    if (platform.system(), platform.machine()) == ("Darwin", "arm64"):
        found.append(Gpu(api="metal", name="Apple", memory=_usable_memory()))
    return tuple(found)


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

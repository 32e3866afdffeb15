"""HostFacts: what engines may know about this machine; probed once and handed to everyone."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

from mrpack_runtime.machine import accelerators, hardware
from mrpack_runtime.machine.accelerators import Gpu

__all__ = ["Gpu", "HostFacts", "HostNow", "PythonEnvironment", "probe_host", "with_engine_environments"]

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
        "RAY_ADDRESS",
        "GLOO_SOCKET_IFNAME",
        "NCCL_SOCKET_IFNAME",
        "SYSTEMROOT",
    }
)
_ARCHITECTURES: Final = {"amd64": "x86_64", "aarch64": "arm64"}
_ROOT: Final = Path("/")
_SYSTEMS: Final = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}


@dataclass(frozen=True, slots=True)
class PythonEnvironment:
    """A Python that may hold an engine: a virtual environment made for one engine, or `ours`."""

    executable: Path
    site_packages: tuple[Path, ...]
    ours: bool = False

    def find_distribution(self, name: str) -> Distribution | None:
        """Reads package metadata only; nothing is imported."""
        paths = [str(path) for path in self.site_packages]
        return next(iter(distributions(name=name, path=paths)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """`os`: linux, macos or windows; `arch`: x86_64, arm64, …; `memory`: bytes that we may use.

    `cpu_count`: logical processors that we may use (affinity and cgroup quota count); `physical_cores` the
    same without hyper-threads. `programs` are paths that the user configured: they win over `search_path`
    (PATH). `pythons`: those made for engines come before ours. `environment` holds only what an engine may
    see. `cpu_features`: avx2, avx512, amx, neon, …; `glibc`: None with another C library; `libraries`: of
    those that engines need and do not bring (hardware.py); `vulkan_drivers`: for hardware; `idle_cards`:
    vendors of cards without a driver.
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
    cpu_features: frozenset[str] = frozenset()
    numa_nodes: int = 1
    glibc: tuple[int, int] | None = None
    libraries: frozenset[str] = frozenset()
    vulkan_drivers: tuple[str, ...] = ()
    idle_cards: tuple[str, ...] = ()

    def gpus_of(self, api: str) -> tuple[Gpu, ...]:
        return tuple(gpu for gpu in self.gpus if gpu.api == api)

    def pythons_with(self, *packages: str) -> Iterator[tuple[PythonEnvironment, Distribution]]:
        """Those that have all of `packages`, each with the distribution of the first of them."""
        for python in self.pythons:
            found = [python.find_distribution(package) for package in packages]
            if all(found) and found[0]:
                yield python, found[0]

    def find_program(self, name: str) -> Path | None:
        """The executable on PATH; a configured one is in `programs`."""
        found = shutil.which(name, path=os.pathsep.join(str(folder) for folder in self.search_path))
        return Path(found) if found else None


# The facts as they are now: engines may be installed while we run. Takes microseconds, from any thread.
HostNow = Callable[[], HostFacts]


def probe_host(
    environment: Mapping[str, str],
    *,
    programs: Mapping[str, Path] | None = None,
    engine_environments: Iterable[Path] = (),
) -> HostFacts:
    """Facts of the machine we run on; `engine_environments` are virtual environments made for engines.

    Reads files, and asks `nvidia-smi` where it is.
    """
    cpus = hardware.usable_cpus()
    quota = hardware.cgroup_cpus(_ROOT)
    cpu_count = min(len(cpus), quota) if quota else len(cpus)
    system = _SYSTEMS.get(platform.system(), platform.system().lower())
    arch = _ARCHITECTURES.get(platform.machine().lower(), platform.machine().lower())
    memory = hardware.usable_memory(_ROOT)
    path = environment.get("PATH", os.defpath)
    smi = shutil.which("nvidia-smi", path=path)
    return HostFacts(
        os=system,
        arch=arch,
        cpu_count=cpu_count,
        physical_cores=min(hardware.physical_cores(_ROOT, cpus), cpu_count),
        memory=memory,
        programs=dict(programs or {}),
        search_path=_folders(path),
        pythons=(*_engine_pythons(engine_environments), _own_python()),
        environment={name: value for name, value in environment.items() if name in _ENGINE_VARIABLES},
        gpus=accelerators.find_gpus(_ROOT, system, arch, memory, Path(smi) if smi else None),
        cpu_features=hardware.cpu_features(_ROOT, system, arch),
        numa_nodes=hardware.numa_nodes(_ROOT),
        glibc=hardware.glibc_version(),
        libraries=hardware.libraries(_ROOT, _folders(environment.get("LD_LIBRARY_PATH", ""))),
        vulkan_drivers=accelerators.find_vulkan_drivers(_ROOT),
        idle_cards=accelerators.find_idle_cards(_ROOT),
    )


def with_engine_environments(host: HostFacts, folders: Iterable[Path]) -> HostFacts:
    """The same machine, with these virtual environments made for engines in place of those it had."""
    ours = (python for python in host.pythons if python.ours)
    return replace(host, pythons=(*_engine_pythons(folders), *ours))


def _folders(path: str) -> tuple[Path, ...]:
    return tuple(Path(part) for part in path.split(os.pathsep) if part)


def _own_python() -> PythonEnvironment:
    return PythonEnvironment(Path(sys.executable), _folders(os.pathsep.join(sys.path)), ours=True)


def _engine_pythons(folders: Iterable[Path]) -> Iterable[PythonEnvironment]:
    """A link is followed: what an engine imports late must not come from a newer environment."""
    for folder in folders:
        executable = folder.resolve() / "bin" / "python"
        if executable.exists():
            packages = folder.resolve().glob("lib/python3*/site-packages")
            yield PythonEnvironment(executable, tuple(sorted(packages)))

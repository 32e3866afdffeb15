"""Accelerators of this machine, by what their drivers show as files; no driver library is loaded."""

from __future__ import annotations

import csv
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MIB: Final = 2**20
# It waits for cards that are being reset; without persistence mode it takes about two seconds.
_SMI_TIMEOUT_S: Final = 10.0
_SMI_QUERY: Final = "--query-gpu=name,memory.total,driver_version,compute_cap"
_SMI_COLUMNS: Final = 4
_SMI_OF_WSL: Final = "usr/lib/wsl/lib/nvidia-smi"
# PCI class "display controller", and the vendors whose cards need a driver to be of use.
_DISPLAY_CLASS: Final = "0x03"
_VENDORS: Final = {"0x10de": "NVIDIA", "0x1002": "AMD"}
_INTEL: Final = "0x8086"
# Vulkan drivers that compute on the processor.
_SOFTWARE_VULKAN: Final = re.compile(r"lvp|swrast|llvmpipe|swiftshader", re.IGNORECASE)
# The newest CUDA of each driver branch: NVIDIA, CUDA toolkit release notes, table 3.
_CUDA_OF_BRANCH: Final = (
    (580, "13.0"),
    (575, "12.9"),
    (570, "12.8"),
    (565, "12.7"),
    (560, "12.6"),
    (555, "12.5"),
    (550, "12.4"),
    (545, "12.3"),
    (535, "12.2"),
    (530, "12.1"),
    (525, "12.0"),
    (450, "11.8"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """`api` is `cuda`, `rocm`, `metal`, `xpu` (Intel) or `opencl` (Adreno); `memory` in bytes.

    `driver`: the driver's version; for ROCm that of ROCm. `level`: the newest CUDA that the driver speaks,
    such as `12.9`. `kind`: compute capability (`8.9`) or AMD's target (`gfx1100`). Empty and None: not told.
    """

    api: str
    name: str
    memory: int | None = None
    driver: str = ""
    level: str = ""
    kind: str = ""


def find_gpus(root: Path, system: str, machine: str, memory: int, smi: Path | None) -> tuple[Gpu, ...]:
    """`system` and `machine` as in HostFacts; `memory`: the machine's, which Apple's GPUs share.

    `smi` is `nvidia-smi`, asked only where NVIDIA's driver is.
    """
    if system == "macos":
        return (Gpu(api="metal", name="Apple", memory=memory),) if machine == "arm64" else ()
    return (*_nvidia(root, smi), *_amd(root), *_intel(root), *_adreno(root))


def find_idle_cards(root: Path) -> tuple[str, ...]:
    """Cards of NVIDIA and AMD on the bus that no driver serves, by vendor."""
    found = []
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        vendor = _VENDORS.get(read(device / "vendor").strip())
        display = read(device / "class").startswith(_DISPLAY_CLASS)
        if vendor and display and not (device / "driver").exists():
            found.append(vendor)
    return tuple(found)


def find_vulkan_drivers(root: Path) -> tuple[str, ...]:
    """Names of installed Vulkan drivers for hardware, as `intel_icd`; needs a device to render on."""
    if not list((root / "dev/dri").glob("renderD*")):
        return ()
    found = [
        path.name.partition(".")[0]
        for folder in ("usr/share/vulkan/icd.d", "etc/vulkan/icd.d")
        for path in sorted((root / folder).glob("*.json"))
    ]
    return tuple(dict.fromkeys(name for name in found if not _SOFTWARE_VULKAN.search(name)))


def cuda_of_driver(version: str) -> str:
    """The newest CUDA that a driver speaks; empty when it is not known."""
    branch = int(re.match(r"\d+", version)[0]) if version[:1].isdigit() else 0  # type: ignore[index]
    return next((cuda for least, cuda in _CUDA_OF_BRANCH if branch >= least), "")


def _nvidia(root: Path, smi: Path | None) -> list[Gpu]:
    cards = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    of_wsl = root / _SMI_OF_WSL
    smi = smi or (of_wsl if of_wsl.exists() else None)
    asked = _ask_smi(smi) if smi else []
    if asked or not cards:
        return asked
    version = re.search(r"Module\s+(?:for \S+\s+)?([\d.]+)", read(root / "proc/driver/nvidia/version"))
    driver = version[1] if version else ""
    found = []
    for path in cards:
        match = re.search(r"^Model:\s*(.+)$", read(path), re.MULTILINE)
        name = match[1] if match else "NVIDIA"
        found.append(Gpu(api="cuda", name=name, driver=driver, level=cuda_of_driver(driver)))
    return found


def _ask_smi(program: Path) -> list[Gpu]:
    try:
        done = subprocess.run(
            [program, _SMI_QUERY, "--format=csv,noheader,nounits"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SMI_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode:
        return []
    found = []
    for row in csv.reader(done.stdout.decode(errors="replace").splitlines()):
        if len(row) != _SMI_COLUMNS:  # a sentence, such as "No devices were found"
            continue
        name, memory, driver, capability = (cell.strip() for cell in row)
        found.append(
            Gpu(
                api="cuda",
                name=name,
                memory=int(memory) * _MIB if memory.isdecimal() else None,
                driver=driver,
                level=cuda_of_driver(driver),
                kind=capability if re.fullmatch(r"\d+\.\d+", capability) else "",
            )
        )
    return found


def _amd(root: Path) -> Iterator[Gpu]:
    if not (root / "dev/kfd").exists():
        return
    version = read(root / "opt/rocm/.info/version").strip()
    for path in sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*/properties")):
        facts = dict(line.split(maxsplit=1) for line in read(path).splitlines() if " " in line)
        target = int(facts.get("gfx_target_version", "0"))
        if not target:  # a processor
            continue
        minor = facts.get("drm_render_minor", "")
        memory = read(root / f"sys/class/drm/renderD{minor}/device/mem_info_vram_total").strip()
        yield Gpu(
            api="rocm",
            name="AMD",
            memory=int(memory) if memory.isdecimal() else None,
            driver=version.partition("-")[0],
            kind=gfx_name(target),
        )


def gfx_name(target: int) -> str:
    """The kernel's number as compilers write it: 110000 is gfx1100, 90010 is gfx90a."""
    return f"gfx{target // 10000}{target // 100 % 100:x}{target % 100:x}"


def _intel(root: Path) -> Iterator[Gpu]:
    for path in sorted((root / "sys/class/drm").glob("renderD*/device/vendor")):
        if read(path).strip() == _INTEL:
            yield Gpu(api="xpu", name="Intel")


def _adreno(root: Path) -> Iterator[Gpu]:
    model = read(root / "sys/class/kgsl/kgsl-3d0/gpu_model").strip()
    if model:
        yield Gpu(api="opencl", name=model)


def read(path: Path) -> str:
    """Of a file that the kernel makes; empty when there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

"""What a machine is, read from files as its kernel and drivers make them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mrpack_runtime.machine.accelerators import (
    Gpu,
    cuda_of_driver,
    find_gpus,
    find_idle_cards,
    find_vulkan_drivers,
    gfx_name,
)
from mrpack_runtime.machine.hardware import (
    available_memory,
    cgroup_cpus,
    cpu_features,
    libraries,
    numa_nodes,
    physical_cores,
)
from mrpack_runtime.machine.host import probe_host

GIB = 2**30


class Machine:
    """A folder that looks like the root of one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, path: str, text: str = "") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def gpus(self, arch: str = "x86_64", smi: Path | None = None) -> tuple[Gpu, ...]:
        return find_gpus(self.root, "linux", arch, 8 * GIB, smi)

    def smi(self, script: str) -> Path:
        program = self.has("bin/nvidia-smi", f"#!{sys.executable}\n{script}\n")
        program.chmod(0o755)
        return program

    def nvidia(self) -> None:
        self.has("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA L4\nIRQ: 1\n")
        self.has(
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  575.57.08  Release Build\nGCC: 12\n",
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_machine_without_drivers_has_no_gpus(machine):
    assert machine.gpus() == ()
    assert find_idle_cards(machine.root) == ()
    assert find_vulkan_drivers(machine.root) == ()


def test_nvidia_is_seen_by_the_files_of_its_driver(machine):
    machine.nvidia()
    assert machine.gpus() == (Gpu(api="cuda", name="NVIDIA L4", driver="575.57.08", level="12.9"),)


def test_nvidia_smi_knows_memory_and_capability_too(machine):
    machine.nvidia()
    program = machine.smi("print('NVIDIA L4, 23034, 580.65.06, 8.9\\nNVIDIA T4, [N/A], 580.65.06, 7.5')")
    first, second = machine.gpus(smi=program)
    assert first == Gpu(
        api="cuda", name="NVIDIA L4", memory=23034 * 2**20, driver="580.65.06", level="13.0", kind="8.9"
    )
    assert (second.memory, second.kind) == (None, "7.5")


@pytest.mark.parametrize("script", ["raise SystemExit(9)", "print('No devices were found')", "1/0"])
def test_an_nvidia_smi_that_knows_nothing_leaves_what_the_files_say(machine, script):
    machine.nvidia()
    found = machine.gpus(smi=machine.smi(script))
    assert [gpu.name for gpu in found if gpu.driver] == ["NVIDIA L4"]


def test_under_wsl_only_nvidia_smi_knows_the_card(machine):
    machine.has("usr/lib/wsl/lib/nvidia-smi", f"#!{sys.executable}\nprint('RTX, 8192, 576.57, 8.6')").chmod(
        0o755
    )
    assert machine.gpus()[0].driver == "576.57"


def test_amd_is_seen_with_its_target_and_the_version_of_rocm(machine):
    machine.has("dev/kfd")
    machine.has("opt/rocm/.info/version", "6.4.1-83\n")
    nodes = "sys/class/kfd/kfd/topology/nodes"
    machine.has(f"{nodes}/0/properties", "cpu_cores_count 16\ngfx_target_version 0\n")
    machine.has(f"{nodes}/1/properties", "simd_count 96\ngfx_target_version 110000\ndrm_render_minor 128\n")
    machine.has("sys/class/drm/renderD128/device/mem_info_vram_total", f"{24 * GIB}\n")
    assert machine.gpus() == (Gpu(api="rocm", name="AMD", memory=24 * GIB, driver="6.4.1", kind="gfx1100"),)


@pytest.mark.parametrize(
    ("number", "name"), [(90010, "gfx90a"), (110000, "gfx1100"), (100302, "gfx1032"), (90402, "gfx942")]
)
def test_targets_of_amd_are_written_as_compilers_do(number, name):
    assert gfx_name(number) == name


def test_intel_and_adreno_are_seen_where_linux_shows_them(machine):
    machine.has("sys/class/drm/renderD128/device/vendor", "0x8086\n")
    machine.has("sys/class/kgsl/kgsl-3d0/gpu_model", "Adreno750v2\n")
    assert [(gpu.api, gpu.name) for gpu in machine.gpus("arm64")] == [
        ("xpu", "Intel"),
        ("opencl", "Adreno750v2"),
    ]


def test_apple_silicon_shares_its_memory_with_its_gpu():
    assert find_gpus(Path("/nowhere"), "macos", "arm64", 16 * GIB, None) == (
        Gpu(api="metal", name="Apple", memory=16 * GIB),
    )
    assert find_gpus(Path("/nowhere"), "macos", "x86_64", 16 * GIB, None) == ()


def test_a_card_without_a_driver_is_idle(machine):
    for name, vendor, kind in [
        ("a", "0x10de", "0x030200"),
        ("b", "0x10de", "0x040300"),
        ("c", "0x1002", "0x030000"),
    ]:
        machine.has(f"sys/bus/pci/devices/{name}/vendor", vendor + "\n")
        machine.has(f"sys/bus/pci/devices/{name}/class", kind + "\n")
    machine.has("sys/bus/pci/devices/c/driver/bind")
    assert find_idle_cards(machine.root) == ("NVIDIA",)


def test_vulkan_needs_a_driver_for_hardware_and_a_device(machine):
    machine.has("usr/share/vulkan/icd.d/lvp_icd.x86_64.json")
    machine.has("usr/share/vulkan/icd.d/radeon_icd.x86_64.json")
    assert find_vulkan_drivers(machine.root) == ()
    machine.has("dev/dri/renderD128")
    assert find_vulkan_drivers(machine.root) == ("radeon_icd",)


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [
        ("580.65.06", "13.0"),
        ("575.57.08", "12.9"),
        ("535.129.03", "12.2"),
        ("390.1", ""),
        ("", ""),
        ("x", ""),
    ],
)
def test_a_driver_speaks_the_cuda_of_its_branch(driver, cuda):
    assert cuda_of_driver(driver) == cuda


def test_processor_features_have_one_word_on_every_architecture(machine):
    machine.has("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu avx avx2 avx512f amx_tile sse\n")
    assert cpu_features(machine.root, "linux", "x86_64") == {"avx", "avx2", "avx512", "amx"}
    machine.has("proc/cpuinfo", "Features\t: fp asimd sve i8mm\n")
    assert cpu_features(machine.root, "linux", "arm64") == {"neon", "sve", "i8mm"}
    assert "neon" in cpu_features(machine.root, "macos", "arm64")


def test_numa_nodes_without_processors_do_not_count(machine):
    assert numa_nodes(machine.root) == 1
    for node, cpus in enumerate(["0-3\n", "4-7\n", "\n"]):
        machine.has(f"sys/devices/system/node/node{node}/cpulist", cpus)
    assert numa_nodes(machine.root) == 2


def test_libraries_are_found_in_the_linkers_cache_and_in_folders(machine):
    cache = machine.has("etc/ld.so.cache")
    cache.write_bytes(b"glibc-ld.so.cache1.1\0/lib/x/libnuma.so.1\0/lib/x/notlibvulkan.so.1\0")
    assert libraries(machine.root) == {"libnuma.so.1"}
    machine.has("usr/lib/libvulkan.so.1")
    mine = machine.has("opt/mine/libOpenCL.so.1").parent
    assert libraries(machine.root, [mine]) == {"libnuma.so.1", "libvulkan.so.1", "libOpenCL.so.1"}


def test_limits_of_a_container_count(machine):
    assert cgroup_cpus(machine.root) is None
    machine.has("sys/fs/cgroup/cpu.max", "150000 100000\n")
    assert cgroup_cpus(machine.root) == 2
    machine.has("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0-1\n")
    machine.has("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "0-1\n")
    assert physical_cores(machine.root, {0, 1}) == 1
    machine.has("proc/meminfo", "MemTotal: 5 kB\nMemAvailable:       4 kB\n")
    assert available_memory(machine.root) == 4096


def test_a_link_to_an_environment_is_followed(tmp_path):
    real = tmp_path / ".vllm-1"
    (real / "bin").mkdir(parents=True)
    (real / "bin" / "python").write_text("")
    (tmp_path / "vllm").symlink_to(real.name)
    host = probe_host({"PATH": "/nowhere"}, engine_environments=[tmp_path / "vllm"])
    assert host.pythons[0].executable == real.resolve() / "bin" / "python"


def test_probing_loads_no_driver_library_and_nothing_heavy():
    program = (
        "import os, sys; from mrpack_runtime.machine.host import probe_host; probe_host(os.environ); "
        "print(sorted({'torch', 'rich', 'aiohttp'} & set(sys.modules)), open('/proc/self/maps').read())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.startswith("[]")
    for library in ("libcuda", "libvulkan", "libamdhip", "libOpenCL"):
        assert library not in done.stdout

"""Where an engine has to look on any Linux: the system, its devices, and what its program is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

# Programs and libraries, also of Nix, Guix and Homebrew. Never homes, and of /etc what says how to run.
SYSTEM: Final = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt"),
    *("/nix/store", "/gnu/store", "/run/current-system", "/run/opengl-driver", "/home/linuxbrew/.linuxbrew"),
)
READABLE: Final = (
    *("/proc", "/sys"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/alternatives"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts", "/etc/host.conf", "/etc/localtime"),
    *("/etc/timezone", "/etc/os-release", "/etc/locale.alias", "/etc/mime.types", "/etc/ssl/openssl.cnf"),
    *("/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted", "/etc/magic"),
    *("/etc/OpenCL", "/etc/vulkan", "/etc/glvnd", "/etc/nvidia", "/etc/nccl.conf", "/etc/rocm"),
    *("/dev/urandom", "/dev/random", "/run/nvidia-persistenced"),
)
_ALWAYS_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full")
# By what they are made for; all that are there can be used, whatever the host was found to have.
ACCELERATORS: Final[dict[str, tuple[str, ...]]] = {
    "cuda": ("nvidia[0-9]*", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "nvidia-caps"),
    "cuda-tegra": ("nvhost-*", "nvmap", "nvgpu"),
    "cuda-wsl": ("dxg",),
    "cuda-imex": ("nvidia-caps-imex-channels", "gdrdrv"),
    "rocm": ("kfd",),
    "vulkan": ("dri", "udmabuf", "dma_heap"),
    "opencl": ("mali[0-9]*", "kgsl-3d0"),
    "npu": ("accel", "davinci[0-9]*", "davinci_manager", "hisi_hdc", "devmm_svm"),
    "infiniband": ("infiniband",),
}


def devices(root: Path = Path("/dev")) -> tuple[str, ...]:
    found = (path for globs in ACCELERATORS.values() for glob in globs for path in root.glob(glob))
    return (*_ALWAYS_DEVICES, *sorted(str(path) for path in found))


def program_places(program: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What can be read and run for `program` to start, and folders whose names it may list.

    A virtual environment with the Python that it was made of; else the program, with the libraries in its
    own folder and in the `lib` beside that. Never all of the folder: it could be somebody's home.
    """
    places: dict[str, None] = {}
    names: dict[str, None] = {}
    for path in dict.fromkeys(_programs(program)):
        folder, prefix = path.parent, path.parent.parent
        places[str(path)] = None
        if folder.name in {"bin", "Scripts"}:
            places |= dict.fromkeys(
                str(prefix / part) for part in ("bin", "lib", "lib64", "libexec", "include", "share")
            )
            places[str(prefix / "pyvenv.cfg")] = None
        else:
            names[str(folder)] = None
            places |= dict.fromkeys(str(file) for file in _libraries(folder))
            places |= dict.fromkeys(str(prefix / part) for part in ("lib", "lib64"))
    return tuple(places), tuple(names)


def is_script(program: Path) -> bool:
    """Whether it is handed to another program, which starts who knows what."""
    try:
        with program.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _programs(program: Path) -> Iterator[Path]:
    """The program, what its links lead to, and the Python of its virtual environment."""
    yield program
    link = program
    while link.is_symlink():
        link = link.parent / link.readlink()
        yield link
    yield program.resolve()
    try:
        lines = (program.parent.parent / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() == "home":
            home = Path(value.strip()) / "python3"
            yield home
            yield home.resolve()


def _libraries(folder: Path) -> Iterable[Path]:
    try:
        return sorted(path for path in folder.iterdir() if ".so" in path.suffixes)
    except OSError:
        return ()

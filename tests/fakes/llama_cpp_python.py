"""A virtual environment with `llama-cpp-python[server]`, compiled here, and llama.cpp's own programs.

For tests of that launcher, and of `llama-server` and `llama-quantize`: the package's source has these, too,
and one compilation makes all.

    python tests/fakes/llama_cpp_python.py [FOLDER]

FOLDER: `MRPACK_TEST_LLAMA_CPP_PYTHON`, else one in the temporary folder. About 900 CPU seconds the first time
on a machine; pip keeps the wheel, so that later ones take seconds. Needs a C++ compiler and a package index.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

VERSION = "0.3.36"
REQUIREMENT = f"llama-cpp-python[server]=={VERSION}"
_TOOLS = Path(__file__).with_name("llama_tools.cmake")


@cache
def ensure_environment(folder: Path | None = None) -> Path:
    """Its folder; many processes may ask at once. Each tries it once: that takes seconds."""
    folder = folder or default_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _works(folder):
            _build(folder)
        if not _works(folder):  # pip had kept a wheel that was built without the programs
            pip = [folder / "bin" / "python", "-m", "pip"]
            subprocess.run([*pip, "cache", "remove", f"llama_cpp_python-{VERSION}*"], check=True)
            _build(folder)
            if not _works(folder):
                raise SystemExit(f"{REQUIREMENT} was built in {folder}, and its programs do not start")
    return folder


def programs(folder: Path) -> Path:
    """Where `llama-server` and `llama-quantize` are in such an environment; the folder may be missing."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return folder / "lib" / version / "site-packages" / "bin"


def _works(folder: Path) -> bool:
    commands = (
        [folder / "bin" / "python", "-c", "import llama_cpp.server.app"],
        [programs(folder) / "llama-server", "--version"],
    )
    return all(
        command[0].exists() and subprocess.run(command, check=False, capture_output=True).returncode == 0
        for command in commands
    )


def default_folder() -> Path:
    if given := os.environ.get("MRPACK_TEST_LLAMA_CPP_PYTHON"):
        return Path(given)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Path(tempfile.gettempdir()) / f"mrpack-test-{getpass.getuser()}" / f"llama-cpp-python-py{version}"


def _build(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    environment = {
        **os.environ,
        "CMAKE_ARGS": f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={_TOOLS}",
        "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
    }
    subprocess.run(
        [folder / "bin" / "python", "-m", "pip", "install", "--quiet", REQUIREMENT],
        env=environment,
        check=True,
        preexec_fn=lambda: os.nice(10),
    )


if __name__ == "__main__":
    print(ensure_environment(Path(sys.argv[1]) if sys.argv[1:] else None))

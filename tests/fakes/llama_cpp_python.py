"""A virtual environment with `llama-cpp-python[server]`, compiled here, for tests of that launcher.

    python tests/fakes/llama_cpp_python.py [FOLDER]

FOLDER: `MRPACK_TEST_LLAMA_CPP_PYTHON`, else one in the temporary folder. About 500 CPU seconds the first time
on a machine; pip keeps the wheel, so that later ones take seconds. Needs a C++ compiler and a package index.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENT = "llama-cpp-python[server]==0.3.36"
# Neither the command line programs' library nor anything else that the Python package does not use. Its build
# forces LLAMA_BUILD_COMMON on; an ordinary variable set by an included file wins over that.
_INCLUDE = "set(LLAMA_BUILD_COMMON OFF)\n"


def ensure_environment(folder: Path | None = None) -> Path:
    """Its folder; many processes may ask at once."""
    folder = folder or default_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _works(folder / "bin" / "python"):
            _build(folder)
    return folder


def _works(python: Path) -> bool:
    command = [python, "-c", "import llama_cpp.server.app"]
    return python.exists() and subprocess.run(command, check=False, capture_output=True).returncode == 0


def default_folder() -> Path:
    if given := os.environ.get("MRPACK_TEST_LLAMA_CPP_PYTHON"):
        return Path(given)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Path(tempfile.gettempdir()) / f"mrpack-test-{getpass.getuser()}" / f"llama-cpp-python-py{version}"


def _build(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    include = folder / "without-common.cmake"
    include.write_text(_INCLUDE)
    environment = {
        **os.environ,
        "CMAKE_ARGS": f"-DCMAKE_PROJECT_llama_cpp_INCLUDE={include}",
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

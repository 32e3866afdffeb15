"""A target in memory: for tests, and for artifacts that are only being put together."""

from __future__ import annotations

import threading

from mrpack.content.ports import Opener
from mrpack.content.referrers import find_referrers
from mrpack.digest import ByteSource, BytesSource, Digest, read_verified
from mrpack.errors import NotFound
from mrpack.oci.descriptor import Descriptor


class MemoryTarget:
    """The whole port over two dictionaries. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._content: dict[Digest, bytes] = {}
        self._tags: dict[str, Descriptor] = {}

    def add(self, media_type: str, content: bytes) -> Descriptor:
        """Keep `content`, which is ours, and describe it."""
        descriptor = Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))
        with self._lock:
            self._content[descriptor.digest] = content
        return descriptor

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> ByteSource:
        try:
            return BytesSource(self._content[descriptor.digest][offset:])
        except KeyError:
            raise NotFound(f"no content {descriptor.digest} in memory") from None

    def resolve(self, ref: str) -> Descriptor:
        with self._lock:
            descriptor = self._tags.get(ref)
        if descriptor is None:
            raise NotFound(f"no reference {ref!r} in memory")
        return descriptor

    def exists(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self._content

    def push(self, descriptor: Descriptor, open_at: Opener) -> None:
        source = open_at(0)
        try:
            content = read_verified(source, descriptor.digest, descriptor.size, limit=descriptor.size)
        finally:
            source.close()
        with self._lock:
            self._content[descriptor.digest] = content

    def push_manifest(self, descriptor: Descriptor, raw: bytes, ref: str | None) -> None:
        with self._lock:
            self._content[descriptor.digest] = raw
            self._tags[str(descriptor.digest)] = descriptor
            if ref is not None:
                self._tags[ref] = descriptor

    def tag(self, descriptor: Descriptor, ref: str) -> None:
        if not self.exists(descriptor):
            raise NotFound(f"no content {descriptor.digest} in memory")
        with self._lock:
            self._tags[ref] = descriptor

    def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
        with self._lock:
            manifests = {str(item.digest): item for item in self._tags.values()}
        return find_referrers(self, manifests.values(), subject, artifact_type)

    def tags(self) -> list[str]:
        with self._lock:
            return sorted(ref for ref, descriptor in self._tags.items() if ref != str(descriptor.digest))

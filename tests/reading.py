"""Reading what a source holds: verified, or as it comes."""

from __future__ import annotations

import contextlib
from typing import Protocol, runtime_checkable

from mrpack.content.ports import Fetcher
from mrpack.digest import ByteSource, read_verified
from mrpack.oci.descriptor import Descriptor


@runtime_checkable
class Lister(Protocol):
    """Most sources can; none has to."""

    def tags(self) -> list[str]:
        """All references, sorted."""
        ...


def read(source: Fetcher, descriptor: Descriptor) -> bytes:
    with contextlib.closing(source.fetch(descriptor)) as stream:
        return read_verified(stream, descriptor.digest, descriptor.size, limit=descriptor.size)


def read_raw(stream: ByteSource) -> bytes:
    """Closes it."""
    content = bytearray()
    buffer = memoryview(bytearray(1000))
    with contextlib.closing(stream):
        while count := stream.readinto(buffer):
            content += buffer[:count]
    return bytes(content)

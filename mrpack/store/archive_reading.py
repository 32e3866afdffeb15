"""What an OCI image layout in one tar holds, and where: the content itself is passed over."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mrpack.digest import Digest
from mrpack.errors import HostRefused, InvalidArtifact, Unsupported, from_os_error
from mrpack.oci.encoding import decode_object
from mrpack.oci.manifest import Index
from mrpack.store.marks import LAYOUT
from mrpack.store.tarstream import Member, MemberKind, TarReader

INDEX_NAME: Final = "index.json"
_BLOB_NAME: Final = re.compile(r"blobs/(sha256|sha512)/([0-9a-f]+)")
_FOLDERS: Final = frozenset({"", ".", "blobs", "blobs/sha256", "blobs/sha512"})
# `docker save` writes both its own list and an image layout; the list is passed over.
_PASSED_OVER: Final = frozenset({"manifest.json", "repositories"})

# Several models of as many files as a manifest may have layers.
_MEMBERS_LIMIT: Final = 100_000
_VERSION_LIMIT: Final = 64 * 1024
_INDEX_LIMIT: Final = 64 * 1024 * 1024
# First bytes of gzip, zstd, xz and bzip2.
_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh")


@dataclass(frozen=True, slots=True)
class Region:
    """`size` bytes of a file from `offset` on."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Contents:
    index: Index
    blobs: Mapping[Digest, Region]


class RegionSource:
    """A part of an open file as a ByteSource; has a handle of its own. Not verified."""

    def __init__(self, handle: int, region: Region, where: str) -> None:
        self._handle = os.dup(handle)
        self._where = where
        self._position = region.offset
        self._end = region.offset + region.size

    def readinto(self, buffer: memoryview, /) -> int:
        """Raises HostRefused."""
        rest = self._end - self._position
        try:
            count = os.preadv(self._handle, [buffer[:rest]], self._position) if rest else 0
        except OSError as error:
            raise from_os_error(error, f"read {self._where}") from error
        self._position += count
        return count

    def skip(self, count: int) -> int:
        """Pass over as much of `count` bytes as there is; nothing is read."""
        count = min(count, self._end - self._position)
        self._position += count
        return count

    @property
    def position(self) -> int:
        return self._position

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def read_contents(handle: int, where: str) -> Contents:
    """From an open file.

    Raises:
        InvalidArtifact: not an image layout in a tar, or a doubtful one: links, devices, a name twice, any
            name that a layout does not have.
        Unsupported: a compressed tar, another version of the layout.
        OSError: it cannot be read.
    """
    if os.pread(handle, 6, 0).startswith(_COMPRESSED):
        raise Unsupported(f"{where} is compressed", hint="decompress it first: blobs are read where they lie")
    whole = RegionSource(handle, Region(0, os.fstat(handle).st_size), where)
    try:
        small, blobs = _walk(TarReader(whole, where), whole, where)
    finally:
        whole.close()
    if LAYOUT.name not in small or INDEX_NAME not in small:
        raise InvalidArtifact("not an OCI image layout: no oci-layout or no index.json in it", where=where)
    version = decode_object(_read(handle, small[LAYOUT.name], _VERSION_LIMIT, where), where)
    if version.get(LAYOUT.key) != LAYOUT.known:
        raise Unsupported(f"{where}: image layout version {version.get(LAYOUT.key)!r:.40}")
    raw = _read(handle, small[INDEX_NAME], _INDEX_LIMIT, where)
    return Contents(Index.parse(raw, f"{where}: index.json", limit=_INDEX_LIMIT), blobs)


def _walk(
    reader: TarReader, whole: RegionSource, where: str
) -> tuple[dict[str, Region], dict[Digest, Region]]:
    small: dict[str, Region] = {}
    blobs: dict[Digest, Region] = {}
    seen: set[str] = set()
    while (member := reader.next_member()) is not None:
        name = _checked_name(member, where)
        region = Region(whole.position, member.size)
        if name in seen and member.kind is MemberKind.FILE:
            raise InvalidArtifact(f"{name!r} is in it twice", where=where)
        seen.add(name)
        if len(seen) > _MEMBERS_LIMIT:
            raise InvalidArtifact(f"more than {_MEMBERS_LIMIT} members", where=where)
        if name in {LAYOUT.name, INDEX_NAME}:
            small[name] = region
        elif match := _BLOB_NAME.fullmatch(name):
            blobs[Digest.parse(f"{match[1]}:{match[2]}", where)] = region
    return small, blobs


def _checked_name(member: Member, where: str) -> str:
    """Without a leading `./`, which `tar -c .` writes."""
    name = member.name.removeprefix("./").rstrip("/")
    if member.kind is MemberKind.FOLDER and name in _FOLDERS:
        return name
    if member.kind is not MemberKind.FILE:
        raise InvalidArtifact(f"a {member.kind}: {member.name!r:.80}", where=where)
    if name in {LAYOUT.name, INDEX_NAME} | _PASSED_OVER or _BLOB_NAME.fullmatch(name):
        return name
    raise InvalidArtifact(f"{member.name!r:.80} is no part of an OCI image layout", where=where)


def _read(handle: int, region: Region, limit: int, where: str) -> bytes:
    if region.size > limit:
        raise InvalidArtifact(f"{region.size} bytes, more than the limit of {limit}", where=where)
    content = os.pread(handle, region.size, region.offset)
    if len(content) != region.size:
        raise HostRefused(f"{where} became shorter while it was read")
    return content

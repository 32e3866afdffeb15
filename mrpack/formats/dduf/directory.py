"""The entries of an archive, by its central directory and the local headers, which must agree.

Whoever reads only one of the two could be shown other files than we saw; so could whoever tolerates bytes
that belong to no entry. Both are refused.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mrpack.errors import InvalidArtifact
from mrpack.formats.dduf import zipformat as zf
from mrpack.readable import ReadableFile

# A pipeline has some dozens.
ENTRIES_LIMIT: Final = 10_000
DIRECTORY_LIMIT: Final = 4 * 1024 * 1024

_DOS_FOLDER: Final = 0x10


@dataclass(frozen=True, slots=True, kw_only=True)
class DdufEntry:
    """A stored file: `size` bytes at `offset` of the archive."""

    name: str
    size: int
    offset: int
    crc32: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """An entry as the central directory has it; `offset` is that of its local header."""

    raw_name: bytes
    central: zf.Central
    size: int
    offset: int


def read_directory(file: ReadableFile) -> tuple[DdufEntry, ...]:
    """All entries in the order of their content, which fills the file up to the central directory.

    Raises:
        InvalidArtifact: whatever is wrong; no other error comes from the content.
    """
    return _Reader(file).read()


class _Reader:
    def __init__(self, file: ReadableFile) -> None:
        self._file = file

    def read(self) -> tuple[DdufEntry, ...]:
        count, start, size = self._find_directory()
        listed = self._read_central(self._take(start, size, "central directory"), count)
        entries = []
        expected = 0
        for entry in sorted(listed, key=lambda entry: entry.offset):
            if entry.offset != expected:
                problem = "overlaps another" if entry.offset < expected else "has unknown bytes before it"
                raise self._error(f"{_shown(entry.raw_name)} {problem}")
            found = self._read_local(entry, start)
            entries.append(found)
            expected = found.offset + found.size
        if expected != start:
            raise self._error(f"{start - expected} unknown bytes before the central directory")
        return tuple(entries)

    def _error(self, message: str) -> InvalidArtifact:
        return InvalidArtifact(message, where=self._file.where)

    def _take(self, offset: int, count: int, what: str) -> bytes:
        if offset < 0 or offset + count > self._file.size:
            raise self._error(f"{what}: is not inside the file")
        content = self._file.read_at(offset, count)
        if len(content) != count:
            raise self._error("became shorter while it was read")
        return content

    def _find_directory(self) -> tuple[int, int, int]:
        """Number of entries, offset and size of the central directory, which the end records follow."""
        if self._file.size < zf.END.size:
            raise self._error("not a DDUF file: too short for a zip archive")
        at = self._file.size - zf.END.size
        end = zf.End(*zf.END.unpack(self._take(at, zf.END.size, "end record")))
        if end.signature != zf.END_SIGNATURE or end.comment_size:
            raise self._error(
                "not a DDUF file: not a zip archive, cut short, or something follows its end record"
            )
        locator_at = at - zf.LOCATOR64.size
        if locator_at >= 0:
            raw = self._take(locator_at, zf.LOCATOR64.size, "zip64 locator")
            if raw.startswith(zf.LOCATOR64_SIGNATURE):
                at, end = self._read_zip64(zf.Locator64(*zf.LOCATOR64.unpack(raw)), locator_at, end)
        if end.disk or end.directory_disk or end.entries_on_disk != end.entries:
            raise self._error("one of several archives that belong together")
        if not 0 < end.entries <= ENTRIES_LIMIT:
            raise self._error(f"has {end.entries} entries; 1 to {ENTRIES_LIMIT} are allowed")
        if end.directory_size > DIRECTORY_LIMIT:
            raise self._error(
                f"central directory of {end.directory_size} bytes; at most {DIRECTORY_LIMIT} are allowed"
            )
        if end.directory_offset + end.directory_size != at:
            raise self._error("central directory: does not end where the end record starts")
        return end.entries, end.directory_offset, end.directory_size

    def _read_zip64(self, locator: zf.Locator64, locator_at: int, end: zf.End) -> tuple[int, zf.End]:
        """Where the end records start, and the true end record."""
        at = locator_at - zf.END64.size
        if locator.offset != at or locator.disk or locator.disks != 1:
            raise self._error("zip64 locator: does not point to the record before it")
        record = zf.End64(*zf.END64.unpack(self._take(at, zf.END64.size, "zip64 end record")))
        if record.signature != zf.END64_SIGNATURE or record.record_size != zf.END64.size - 12:
            raise self._error("zip64 end record: not one of the known size")
        pairs = (
            (end.entries_on_disk, record.entries_on_disk, zf.COUNT_IN_ZIP64),
            (end.entries, record.entries, zf.COUNT_IN_ZIP64),
            (end.directory_size, record.directory_size, zf.IN_ZIP64),
            (end.directory_offset, record.directory_offset, zf.IN_ZIP64),
        )
        if any(old not in {new, escape} for old, new, escape in pairs):
            raise self._error("zip64 end record: contradicts the end record")
        return at, zf.End(
            end.signature,
            end.disk | record.disk,
            end.directory_disk | record.directory_disk,
            record.entries_on_disk,
            record.entries,
            record.directory_size,
            record.directory_offset,
            0,
        )

    def _read_central(self, raw: bytes, count: int) -> Sequence[_Listed]:
        listed = []
        at = 0
        for number in range(1, count + 1):
            if at + zf.CENTRAL.size > len(raw):
                raise self._error(f"central directory: ends before entry {number} of {count}")
            central = zf.Central(*zf.CENTRAL.unpack_from(raw, at))
            at += zf.CENTRAL.size
            name = raw[at : at + central.name_size]
            at += central.name_size
            extra = raw[at : at + central.extra_size]
            at += central.extra_size
            if central.signature != zf.CENTRAL_SIGNATURE or at > len(raw):
                raise self._error(f"central directory: entry {number} is not one")
            listed.append(self._check_central(central, name, extra))
        if at != len(raw):
            raise self._error("central directory: something follows the last entry")
        return listed

    def _check_central(self, central: zf.Central, name: bytes, extra: bytes) -> _Listed:
        what = _shown(name)
        if central.method != zf.STORED:
            raise self._error(f"{what}: is compressed (method {central.method}), which DDUF does not allow")
        if central.flags & ~zf.UTF8_FLAG:
            raise self._error(f"{what}: is encrypted, streamed or patched (flags {central.flags:#06x})")
        if central.version > zf.ZIP64_VERSION:
            raise self._error(f"{what}: needs version {central.version} of zip")
        if central.comment_size or central.disk:
            raise self._error(f"{what}: has a comment, or lies in another archive")
        kind = stat.S_IFMT(central.external_attributes >> 16)
        if kind not in {0, stat.S_IFREG} or central.external_attributes & _DOS_FOLDER:
            raise self._error(f"{what}: is a link, a folder or a device, not a file")
        size, stored_size, offset = self._resolve(
            what, extra, (central.size, central.stored_size, central.offset)
        )
        if size != stored_size:
            raise self._error(f"{what}: has {size} bytes, but {stored_size} are stored")
        return _Listed(raw_name=name, central=central, size=size, offset=offset)

    def _resolve(self, what: str, raw: bytes, fields: Sequence[int]) -> list[int]:
        """The fields, those with all bits set from the zip64 extra field, which has no others."""
        try:
            extras = list(zf.Extra.split(raw))
        except struct.error:
            raise self._error(f"{what}: has a malformed extra field") from None
        kinds = [extra.kind for extra in extras]
        unknown = set(kinds) - zf.HARMLESS_EXTRAS - {zf.ZIP64_EXTRA}
        if unknown or len(set(kinds)) != len(kinds):
            raise self._error(f"{what}: has extra fields {', '.join(f'{kind:#06x}' for kind in kinds)}")
        zip64 = next((extra.content for extra in extras if extra.kind == zf.ZIP64_EXTRA), b"")
        wanted = fields.count(zf.IN_ZIP64)
        if len(zip64) != 8 * wanted:
            raise self._error(f"{what}: its zip64 field has {len(zip64)} bytes, not {8 * wanted}")
        values = iter(struct.unpack(f"<{wanted}Q", zip64))
        return [next(values) if field == zf.IN_ZIP64 else field for field in fields]

    def _read_local(self, listed: _Listed, directory: int) -> DdufEntry:
        what = _shown(listed.raw_name)
        local = zf.Local(*zf.LOCAL.unpack(self._take(listed.offset, zf.LOCAL.size, what)))
        at = listed.offset + zf.LOCAL.size
        rest = self._take(at, local.name_size + local.extra_size, what)
        name, extra = rest[: local.name_size], rest[local.name_size :]
        if local.signature != zf.LOCAL_SIGNATURE:
            raise self._error(f"{what}: is not where the central directory has it")
        if name != listed.raw_name:
            raise self._error(f"{what}: is called {name[:120]!r} where its content is")
        size, stored_size = self._resolve(what, extra, (local.size, local.stored_size))
        central = listed.central
        if (size, stored_size, local.crc32, local.method, local.flags) != (
            listed.size,
            listed.size,
            central.crc32,
            central.method,
            central.flags,
        ):
            raise self._error(f"{what}: central directory and local header contradict each other")
        offset = at + len(rest)
        if offset + size > directory:
            raise self._error(f"{what}: ends behind the start of the central directory")
        return DdufEntry(name=self._decode(name, central.flags), size=size, offset=offset, crc32=local.crc32)

    def _decode(self, name: bytes, flags: int) -> str:
        """Names are UTF-8 where that is flagged, and else ASCII: nobody agrees on what other bytes mean."""
        try:
            return name.decode("utf-8" if flags & zf.UTF8_FLAG else "ascii")
        except UnicodeDecodeError:
            raise self._error(f"{_shown(name)}: has a name that is not text") from None


def _shown(name: bytes) -> str:
    return f"entry {name[:120].decode(errors='backslashreplace')!r}"

"""Writing DDUF files that are the same, byte for byte, on every machine."""

from __future__ import annotations

import os
import stat
import struct
import uuid
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from mrpack.errors import IntegrityError, Unsupported, from_os_error
from mrpack.formats.dduf import zipformat as zf
from mrpack.formats.dduf.directory import ENTRIES_LIMIT
from mrpack.formats.dduf.rules import check_names, check_structure, reason_against
from mrpack.model.pipeline import INDEX_LIMIT, INDEX_NAME, parse_pipeline
from mrpack.readable import ReadableFile

# Loaders map weights into memory: no tensor should lie across cache lines or SIMD words.
ALIGNMENT: Final = 64

_STEP: Final = 1024 * 1024
# Kind and size of the extra field, and the alignment it states.
_ALIGNMENT_FIELD: Final = 6
_MODE: Final = stat.S_IFREG | 0o644
# Made on Unix (3), by version 4.5.
_MADE_BY: Final = 3 << 8 | zf.ZIP64_VERSION


class _Written(NamedTuple):
    name: bytes
    offset: int
    size: int
    crc32: int


Advance = Callable[[str, int, int], None]
"""Told the name of an entry, its size, and how many of its bytes are written."""


def _silent(_name: str, _size: int, _at: int) -> None:
    pass


def write_dduf(files: Sequence[ReadableFile], target: Path, advance: Advance = _silent) -> None:
    """Put the files of a Diffusers folder into one DDUF file: index first, the others by name, aligned.

    `target` appears, or is replaced, when all is written and synced; memory does not follow the sizes.

    Raises:
        Unsupported: a file cannot be in a DDUF file; the message says why.
        InvalidArtifact: the files are no pipeline, or lack a component.
        IntegrityError: a file changed while it was read.
        HostRefused: the disk is full, or the folder of `target` cannot be written.
    """
    ordered = sorted(files, key=lambda file: (file.name != INDEX_NAME, file.name))
    _check(ordered, str(target))
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        try:
            with aside.open("xb") as output:
                _write_archive(output, ordered, advance)
                output.flush()
                os.fsync(output.fileno())
            aside.rename(target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error(error, f"write {target.name}") from error


def _check(ordered: Sequence[ReadableFile], where: str) -> None:
    for file in ordered:
        reason = reason_against(file.name)
        if reason:
            raise Unsupported(f"{file.where}: {reason}", hint="--exclude it, or package the folder as it is")
    if len(ordered) > ENTRIES_LIMIT:
        raise Unsupported(f"{len(ordered)} files; at most {ENTRIES_LIMIT} can be in a DDUF file")
    names = frozenset(file.name for file in ordered)
    check_names([file.name for file in ordered], where)
    index = ordered[0]
    check_structure(parse_pipeline(index.read(limit=INDEX_LIMIT), index.where), names, where)


def _write_archive(output: BinaryIO, ordered: Sequence[ReadableFile], advance: Advance = _silent) -> None:
    written = [_write_entry(output, file, advance) for file in ordered]
    start = output.tell()
    output.writelines(_central(entry) for entry in written)
    output.write(_end(len(written), start, output.tell() - start))


def _write_entry(output: BinaryIO, file: ReadableFile, advance: Advance) -> _Written:
    """The checksum stands before the content: it is filled in when the content was read, once."""
    offset = output.tell()
    entry = _Written(file.name.encode(), offset, file.size, 0)
    output.write(_local(entry))
    checksum, at = 0, 0
    while at < file.size and (piece := file.read_at(at, min(_STEP, file.size - at))):
        checksum = zlib.crc32(piece, checksum)
        output.write(piece)
        at += len(piece)
        advance(file.name, file.size, at)
    if at != file.size or file.read_at(at, 1):
        raise IntegrityError(f"{file.where} changed while it was packaged", hint="repeat")
    end = output.tell()
    entry = entry._replace(crc32=checksum)
    output.seek(offset)
    output.write(_local(entry))
    output.seek(end)
    return entry


def _local(entry: _Written) -> bytes:
    """Local header, name and extra fields: the content that follows is aligned."""
    large = entry.size >= zf.IN_ZIP64
    size = zf.IN_ZIP64 if large else entry.size
    zip64 = zf.Extra(zf.ZIP64_EXTRA, struct.pack("<2Q", entry.size, entry.size)).to_bytes() if large else b""
    extra = zip64 + _padding(entry.offset + zf.LOCAL.size + len(entry.name) + len(zip64))
    header = zf.Local(
        signature=zf.LOCAL_SIGNATURE,
        version=_version(large=large),
        flags=_flags(entry.name),
        method=zf.STORED,
        time=0,
        date=zf.EPOCH_DATE,
        crc32=entry.crc32,
        stored_size=size,
        size=size,
        name_size=len(entry.name),
        extra_size=len(extra),
    )
    return zf.LOCAL.pack(*header) + entry.name + extra


def _padding(position: int) -> bytes:
    if position % ALIGNMENT == 0:
        return b""
    size = _ALIGNMENT_FIELD + -(position + _ALIGNMENT_FIELD) % ALIGNMENT
    content = struct.pack("<H", ALIGNMENT) + bytes(size - _ALIGNMENT_FIELD)
    return zf.Extra(zf.ALIGNMENT_EXTRA, content).to_bytes()


def _central(entry: _Written) -> bytes:
    fields = (entry.size, entry.size, entry.offset)
    large = [value for value in fields if value >= zf.IN_ZIP64]
    extra = zf.Extra(zf.ZIP64_EXTRA, struct.pack(f"<{len(large)}Q", *large)).to_bytes() if large else b""
    size, stored_size, offset = (min(value, zf.IN_ZIP64) for value in fields)
    header = zf.Central(
        signature=zf.CENTRAL_SIGNATURE,
        made_by=_MADE_BY,
        version=_version(large=bool(large)),
        flags=_flags(entry.name),
        method=zf.STORED,
        time=0,
        date=zf.EPOCH_DATE,
        crc32=entry.crc32,
        stored_size=stored_size,
        size=size,
        name_size=len(entry.name),
        extra_size=len(extra),
        comment_size=0,
        disk=0,
        internal_attributes=0,
        external_attributes=_MODE << 16,
        offset=offset,
    )
    return zf.CENTRAL.pack(*header) + entry.name + extra


def _end(count: int, start: int, size: int) -> bytes:
    """With the zip64 records where the plain one is too small."""
    zip64 = b""
    if max(start, size) >= zf.IN_ZIP64:
        record = zf.End64(
            zf.END64_SIGNATURE,
            zf.END64.size - 12,
            _MADE_BY,
            zf.ZIP64_VERSION,
            0,
            0,
            count,
            count,
            size,
            start,
        )
        zip64 = zf.END64.pack(*record) + zf.LOCATOR64.pack(zf.LOCATOR64_SIGNATURE, 0, start + size, 1)
    end = zf.End(
        zf.END_SIGNATURE, 0, 0, count, count, min(size, zf.IN_ZIP64), min(start, zf.IN_ZIP64), comment_size=0
    )
    return zip64 + zf.END.pack(*end)


def _version(*, large: bool) -> int:
    return zf.ZIP64_VERSION if large else zf.PLAIN_VERSION


def _flags(name: bytes) -> int:
    return 0 if name.isascii() else zf.UTF8_FLAG

"""Code inside zip archives: the checkpoints of torch.save, and whatever else carries pickles or scripts."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Final

from mrpack.formats.code.contents import HEAD, reason_by_content
from mrpack.formats.code.names import reason_by_name
from mrpack.readable import ReadableFile

MEMBERS_LIMIT: Final = 100_000
# Of a central directory, at about 100 bytes a member.
_READ_LIMIT: Final = 16 * 1024 * 1024
_LOCAL = struct.Struct("<26x2H")

_UNREADABLE: Final = "a zip archive that cannot be looked through"


def reason_in_archive(file: ReadableFile) -> str:
    """The first member that is code; archives that cannot be looked through count as such."""
    try:
        with zipfile.ZipFile(_Window(file)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError, struct.error):
        return _UNREADABLE
    if len(members) > MEMBERS_LIMIT or any(not 0 <= member.header_offset <= file.size for member in members):
        return _UNREADABLE
    for member in members:
        reason = reason_by_name(member.filename) or reason_by_content(_head(file, member))
        if reason:
            return f"a zip archive with {member.filename[:120]!r}, {reason}"
    return ""


def _head(file: ReadableFile, member: zipfile.ZipInfo) -> bytes:
    """The first bytes of a member, unpacked; empty when they cannot be had, so for zip's rarer methods."""
    raw = file.read_at(member.header_offset, _LOCAL.size)
    if len(raw) < _LOCAL.size:
        return b""
    content = file.read_at(member.header_offset + _LOCAL.size + sum(_LOCAL.unpack(raw)), HEAD)
    if member.compress_type == zipfile.ZIP_STORED:
        return content[: member.file_size]
    if member.compress_type == zipfile.ZIP_DEFLATED:
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, HEAD)
        except zlib.error:
            return b""
    return b""


class _Window(io.RawIOBase):
    """A ReadableFile for zipfile; one huge read, which only a broken directory asks for, is refused."""

    def __init__(self, file: ReadableFile) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        if start + offset < 0:
            # zipfile looks for records in front of those there are, and expects this.
            raise OSError("before the start of the file")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        rest = max(0, self._file.size - self._at)
        count = rest if size is None or size < 0 else min(size, rest)
        if count > _READ_LIMIT:
            raise ValueError("a central directory beyond the limit")
        content = self._file.read_at(self._at, count)
        self._at += len(content)
        return content

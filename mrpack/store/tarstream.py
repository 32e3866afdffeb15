"""A strict reader of tar archives from a stream: bounded memory, no second guesses.

POSIX.1-2001 (ustar and pax) and the GNU extensions that tools write today. What is ambiguous is refused: two
readers would see two archives in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, runtime_checkable

from mrpack.digest import ByteSource
from mrpack.errors import InvalidArtifact

_BLOCK: Final = 512
_ZEROS: Final = bytes(_BLOCK)
_SIZE_MAX: Final = 2**63 - 1
# Names have at most 1 KiB; extended headers also carry attributes that we pass over.
_NAME_LIMIT: Final = 64 * 1024
_PAX_LIMIT: Final = 1024 * 1024
# A long name, a long link name, extended attributes, and one to spare.
_EXTENSIONS_LIMIT: Final = 4
_PAX_RECORD = re.compile(rb"([1-9][0-9]{0,9}) ([^=]+)=")
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")


class MemberKind(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    SYMBOLIC_LINK = "symbolic link"
    HARD_LINK = "hard link"
    DEVICE = "device or pipe"
    SPARSE = "sparse file"
    UNKNOWN = "member of an unknown type"


_KINDS: Final[Mapping[bytes, MemberKind]] = {
    b"\0": MemberKind.FILE,
    b"0": MemberKind.FILE,
    b"7": MemberKind.FILE,
    b"5": MemberKind.FOLDER,
    b"2": MemberKind.SYMBOLIC_LINK,
    b"1": MemberKind.HARD_LINK,
    b"3": MemberKind.DEVICE,
    b"4": MemberKind.DEVICE,
    b"6": MemberKind.DEVICE,
    b"S": MemberKind.SPARSE,
}


@dataclass(frozen=True, slots=True)
class Member:
    """`name` is as it is written, bytes that are not UTF-8 as surrogates; `size` in bytes, of the content."""

    name: str
    kind: MemberKind
    size: int


@runtime_checkable
class Skipping(Protocol):
    """A source that need not read what nobody wants."""

    def skip(self, count: int) -> int:
        """Pass over `count` bytes, or as many as there are; says how many."""
        ...


@dataclass(slots=True)
class _Extensions:
    """What headers of extensions said about the member that follows them."""

    name: bytes | None = None
    size: int | None = None
    sparse: bool = False


class TarReader:
    """Members in order: `next_member`, then `readinto` for its content, as much of it as is wanted.

    Raises InvalidArtifact for anything that is not a well-formed archive. Does not close its source.
    """

    def __init__(self, source: ByteSource, where: str) -> None:
        self._source = source
        self._where = where
        self._left = 0
        self._padding = 0

    def next_member(self) -> Member | None:
        """None after the last member; the rest of the stream was zeros then."""
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        extensions = _Extensions()
        for _ in range(_EXTENSIONS_LIMIT + 1):
            header = self._read(_BLOCK)
            if header == _ZEROS:
                self._finish(extensions)
                return None
            self._check_sum(header)
            kind = header[156:157]
            size = self._number(header[124:136])
            if kind in b"LKxg":
                self._extend(extensions, kind, size)
                continue
            return self._member(header, size, extensions)
        raise self._bad("too many extended headers in a row")

    def readinto(self, buffer: memoryview, /) -> int:
        """Of the current member's content; 0 at its end."""
        if not self._left:
            return 0
        count = self._source.readinto(buffer[: min(len(buffer), self._left)])
        if not count:
            raise self._bad("ends within a file")
        self._left -= count
        return count

    def _member(self, header: bytes, size: int, extensions: _Extensions) -> Member:
        name = extensions.name if extensions.name is not None else _name(header)
        size = extensions.size if extensions.size is not None else size
        kind = _KINDS.get(header[156:157], MemberKind.UNKNOWN)
        if extensions.sparse:
            kind = MemberKind.SPARSE
        if kind is MemberKind.FILE and name.endswith(b"/"):
            kind = MemberKind.FOLDER  # before POSIX, a name was all there was
        if b"\0" in name:
            raise self._bad("a NUL in a name")
        if size and kind not in {MemberKind.FILE, MemberKind.SPARSE, MemberKind.UNKNOWN}:
            raise self._bad(f"a {kind} with content")
        self._left = size
        self._padding = -size % _BLOCK
        return Member(name.decode(errors="surrogateescape"), kind, size)

    def _extend(self, extensions: _Extensions, kind: bytes, size: int) -> None:
        if size > (_PAX_LIMIT if kind in b"xg" else _NAME_LIMIT):
            raise self._bad(f"an extended header of {size} bytes")
        content = self._read(size)
        self._skip(-size % _BLOCK)
        if kind == b"L":
            self._set_name(extensions, content.rstrip(b"\0"))
        elif kind in b"xg":
            records = self._pax_records(content)
            if kind == b"g" and records.keys() & {b"path", b"size"}:
                raise self._bad("a name or size for all that follows")
            if b"path" in records:
                self._set_name(extensions, records[b"path"])
            if b"size" in records:
                extensions.size = self._decimal(records[b"size"])
            extensions.sparse |= any(key.startswith(b"GNU.sparse.") for key in records)

    def _set_name(self, extensions: _Extensions, name: bytes) -> None:
        if extensions.name is not None:
            raise self._bad("two names for one member")
        extensions.name = name

    def _pax_records(self, content: bytes) -> dict[bytes, bytes]:
        """Each record is its own length, a space, a keyword, `=`, a value and a line feed."""
        records: dict[bytes, bytes] = {}
        position = 0
        while position < len(content):
            match = _PAX_RECORD.match(content, position)
            end = position + int(match[1]) if match else 0
            if match is None or not match.end() < end <= len(content) or content[end - 1 : end] != b"\n":
                raise self._bad("a malformed extended header")
            if match[2] in records:
                raise self._bad(f"{match[2][:40]!r} twice in an extended header")
            records[match[2]] = content[match.end() : end - 1]
            position = end
        return records

    def _decimal(self, text: bytes) -> int:
        if not text.isdigit() or len(text) > 19 or int(text) > _SIZE_MAX:
            raise self._bad(f"not a size: {text[:24]!r}")
        return int(text)

    def _number(self, field: bytes) -> int:
        """Octal digits, or GNU's big-endian binary with the highest bit set."""
        if field[0] == 0x80:
            number = int.from_bytes(field[1:], "big")
            if number > _SIZE_MAX:
                raise self._bad("a size beyond 64 bits")
            return number
        match = _OCTAL.fullmatch(field)
        if match is None:
            raise self._bad(f"not a number: {field!r}")
        return int(match[1] or b"0", 8)

    def _check_sum(self, header: bytes) -> None:
        """The sum of all bytes, its own field taken as spaces."""
        told = _OCTAL.fullmatch(header[148:156])
        if told is None or sum(header) - sum(header[148:156]) + 8 * 0x20 != int(told[1] or b"0", 8):
            raise self._bad("not a tar archive, or a damaged one")

    def _finish(self, extensions: _Extensions) -> None:
        """Two blocks of zeros end an archive, and more may follow to fill a record."""
        if extensions != _Extensions():
            raise self._bad("ends after an extended header")
        buffer = memoryview(bytearray(_BLOCK * 128))
        while count := self._source.readinto(buffer):
            if any(buffer[:count]):
                raise self._bad("something follows its end")

    def _read(self, count: int) -> bytes:
        content = bytearray(count)
        view = memoryview(content)
        while view:
            done = self._source.readinto(view)
            if not done:
                raise self._bad("ends without its end mark")
            view = view[done:]
        return bytes(content)

    def _skip(self, count: int) -> None:
        if isinstance(self._source, Skipping):
            if self._source.skip(count) < count:
                raise self._bad("ends within a file")
            return
        buffer = memoryview(bytearray(min(count, 64 * 1024)))
        while count:
            done = self._source.readinto(buffer[: min(count, len(buffer))])
            if not done:
                raise self._bad("ends within a file")
            count -= done

    def _bad(self, problem: str) -> InvalidArtifact:
        return InvalidArtifact(f"bad tar archive: {problem}", where=self._where)


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    # GNU's magic ends in spaces; its archives have times where POSIX has the front of a long name.
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].partition(b"\0")[0]
        return prefix + b"/" + name if prefix else name
    return name

"""The records of a zip archive, as far as DDUF uses them (APPNOTE.TXT 6.3.10, section 4.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple, Self

LOCAL_SIGNATURE: Final = b"PK\x03\x04"
CENTRAL_SIGNATURE: Final = b"PK\x01\x02"
END_SIGNATURE: Final = b"PK\x05\x06"
END64_SIGNATURE: Final = b"PK\x06\x06"
LOCATOR64_SIGNATURE: Final = b"PK\x06\x07"

# A field with all bits set has its value in the zip64 extra field or record.
IN_ZIP64: Final = 0xFFFF_FFFF
COUNT_IN_ZIP64: Final = 0xFFFF
STORED: Final = 0
# 4.5: the highest version that needs nothing beyond zip64.
ZIP64_VERSION: Final = 45
PLAIN_VERSION: Final = 20
UTF8_FLAG: Final = 0x0800
# 1980-01-01 00:00, the first time that zip knows.
EPOCH_DATE: Final = 0x0021

ZIP64_EXTRA: Final = 0x0001
# Padding so that content starts at a multiple of something, as of Android's zipalign.
ALIGNMENT_EXTRA: Final = 0xD935
# Times and owners as Info-ZIP notes them: nothing that anyone acts on.
HARMLESS_EXTRAS: Final = frozenset({ALIGNMENT_EXTRA, 0x5455, 0x7875})


class Local(NamedTuple):
    """What stands before the content of an entry; name and extra field follow."""

    signature: bytes
    version: int
    flags: int
    method: int
    time: int
    date: int
    crc32: int
    stored_size: int
    size: int
    name_size: int
    extra_size: int


class Central(NamedTuple):
    """An entry of the central directory; name, extra field and comment follow."""

    signature: bytes
    made_by: int
    version: int
    flags: int
    method: int
    time: int
    date: int
    crc32: int
    stored_size: int
    size: int
    name_size: int
    extra_size: int
    comment_size: int
    disk: int
    internal_attributes: int
    external_attributes: int
    offset: int


class End(NamedTuple):
    """The last record; a comment may follow."""

    signature: bytes
    disk: int
    directory_disk: int
    entries_on_disk: int
    entries: int
    directory_size: int
    directory_offset: int
    comment_size: int


class Locator64(NamedTuple):
    signature: bytes
    disk: int
    offset: int
    disks: int


class End64(NamedTuple):
    """`record_size` does not count itself and the signature."""

    signature: bytes
    record_size: int
    made_by: int
    version: int
    disk: int
    directory_disk: int
    entries_on_disk: int
    entries: int
    directory_size: int
    directory_offset: int


LOCAL: Final = Struct("<4s5H3I2H")
CENTRAL: Final = Struct("<4s6H3I5H2I")
END: Final = Struct("<4s4H2IH")
LOCATOR64: Final = Struct("<4sIQI")
END64: Final = Struct("<4sQ2H2I4Q")


class Extra(NamedTuple):
    """An extra field (APPNOTE 4.5): `kind` is its Header ID."""

    kind: int
    content: bytes

    @classmethod
    def split(cls, raw: bytes) -> Iterator[Self]:
        """Raises struct.error when the fields do not fill `raw` exactly."""
        at = 0
        while at < len(raw):
            kind, size = struct.unpack_from("<2H", raw, at)
            at += 4 + size
            if at > len(raw):
                raise struct.error("extra field ends behind its end")
            yield cls(kind, raw[at - size : at])

    def to_bytes(self) -> bytes:
        return struct.pack("<2H", self.kind, len(self.content)) + self.content

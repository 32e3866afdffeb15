"""What an image layout in a tar has before, between and behind its files; the same bytes on every machine."""

from __future__ import annotations

import tarfile
from typing import Final

from mrpack.digest import Digest

_BLOCK: Final = 512
# POSIX tar: archives are padded to records of twenty blocks.
_RECORD: Final = 20 * _BLOCK


def header(name: str, size: int, *, folder: bool = False) -> bytes:
    """Of one member. Owner, time and mode are the same everywhere."""
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o755 if folder else 0o644
    member.type = tarfile.DIRTYPE if folder else tarfile.REGTYPE
    return member.tobuf(tarfile.PAX_FORMAT)


class BlobHeaders:
    """Of one archive: the folders stand before the first blob that lies in them."""

    def __init__(self) -> None:
        self._folders: set[str] = set()

    def of(self, digest: Digest, size: int) -> bytes:
        folders = [name for name in ("blobs", f"blobs/{digest.algorithm}") if name not in self._folders]
        self._folders.update(folders)
        before = b"".join(header(name, 0, folder=True) for name in folders)
        return before + header(f"blobs/{digest.algorithm}/{digest.hex}", size)


def padded(size: int) -> int:
    """What a member's content of `size` bytes takes."""
    return -(-size // _BLOCK) * _BLOCK


def archive_size(end: int) -> int:
    """Of an archive whose last member ends at byte `end`: two empty blocks mark that."""
    return -(-(end + 2 * _BLOCK) // _RECORD) * _RECORD

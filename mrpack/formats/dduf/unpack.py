"""Laying a DDUF file out as the Diffusers folder that engines open."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from mrpack.errors import HostRefused, from_os_error
from mrpack.formats.dduf.archive import DdufArchive, read_entry


def unpack(archive: DdufArchive, folder: Path) -> None:
    """Write every entry below `folder`, which must not exist and appears complete or not at all.

    Names were checked when the archive was read, checksums are here. Not synced: it can be made again.

    Raises:
        IntegrityError: an entry is not what its checksum says.
        HostRefused: `folder` exists, or cannot be written.
    """
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        try:
            aside.mkdir()
            for entry in archive.entries:
                path = aside / entry.name
                path.parent.mkdir(exist_ok=True)
                with path.open("xb", buffering=0) as output:
                    for piece in read_entry(archive.file, entry):
                        _write_all(output.fileno(), piece)
            if os.path.lexists(folder):
                raise HostRefused(f"unpack {archive.file.where}: {folder} exists")
            aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise from_os_error(error, f"unpack {archive.file.where}") from error


def _write_all(handle: int, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(handle, rest) :]

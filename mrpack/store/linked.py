"""Notes on blobs that share their file with one of the user's: a cheap tripwire for edits in place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact
from mrpack.oci.encoding import decode_object, encode
from mrpack.store.durable import make_folder, read_plain, write_atomic

_NOTE_LIMIT: Final = 4096


class LinkNotes:
    """`root/linked/<hex>.<inode>.json`: the modification time that a file had when it was linked.

    A note speaks of one inode: when the blob's name goes to another file, it says nothing. So writers of the
    same blob cannot take each other's notes away.
    """

    def __init__(self, root: Path, ingest: Path) -> None:
        self._folder = root / "linked"
        self._ingest = ingest

    def write(self, digest: Digest, status: os.stat_result) -> None:
        """Before the blob becomes visible. Raises OSError."""
        make_folder(self._folder)
        note = encode({"mtime_ns": status.st_mtime_ns})
        write_atomic(self._path(digest, status), note, ingest=self._ingest)

    def is_edited(self, digest: Digest, status: os.stat_result) -> bool:
        """Whether the blob with this status was linked, and modified since."""
        try:
            note = decode_object(read_plain(self._path(digest, status), _NOTE_LIMIT), "link note")
        except (OSError, InvalidArtifact):
            return False
        return note.get("mtime_ns") != status.st_mtime_ns

    def remove(self, digest: Digest, status: os.stat_result) -> None:
        """Idempotent. Raises OSError."""
        self._path(digest, status).unlink(missing_ok=True)

    def sweep(self, find: Callable[[str], os.stat_result | None]) -> None:
        """Drop what speaks of other files than the blobs have now; `find` knows a blob's status by its hex.

        Only while nobody writes. Raises OSError.
        """
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            hex_, _, inode = path.name.removesuffix(".json").partition(".")
            status = find(hex_)
            if status is None or str(status.st_ino) != inode:
                path.unlink(missing_ok=True)

    def _path(self, digest: Digest, status: os.stat_result) -> Path:
        return self._folder / f"{digest.hex}.{status.st_ino}.json"

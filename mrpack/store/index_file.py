"""`index.json` of a layout: the only place where names stand, so there is a copy of it."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import Final

from mrpack.errors import InvalidArtifact, from_os_error
from mrpack.oci.manifest import Index
from mrpack.store.durable import read_plain, write_atomic

REPAIR: Final = "`mrpack repair` rebuilds it from the blobs"
# 10,000 models take about 4 MB.
_LIMIT: Final = 64 * 1024 * 1024


class IndexFile:
    """Reading takes no lock; `replace` is for who holds the layout's."""

    def __init__(self, root: Path, ingest: Path) -> None:
        self.path = root / "index.json"
        self._copy = root / ".last-index.json"
        self._ingest = ingest

    def read(self) -> Index | None:
        """None when there is none. Raises InvalidArtifact, HostRefused."""
        return _read(self.path)

    def read_copy(self) -> Index | None:
        """The index as mrpack wrote it last."""
        return _read(self._copy)

    def replace(self, index: Index) -> None:
        """Readers see the old or the new one. Raises OSError."""
        try:
            self._write(self.path, index)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            # `rm` has to work on a full disk: the copy makes room.
            self._copy.unlink(missing_ok=True)
            self._write(self.path, index)
        with contextlib.suppress(OSError):
            self._write(self._copy, index)

    def _write(self, path: Path, index: Index) -> None:
        write_atomic(path, index.raw, ingest=self._ingest)


def _read(path: Path) -> Index | None:
    try:
        raw = read_plain(path, _LIMIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error(error, "read index") from error
    try:
        return Index.parse(raw, str(path), limit=_LIMIT)
    except InvalidArtifact as error:
        raise InvalidArtifact(error.message, hint=REPAIR) from None

"""The files that engines write to: their names, how many are kept, and their lines as they come."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

# The newest, each of at most the leash's limit and as much again in `.1`.
_KEPT_LOGS: Final = 64
_TAIL_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 256 * 1024
_NAME: Final = re.compile(
    r"(?P<model>.+)-(?P<digest>[0-9a-f]{12})-(?P<engine>.+)-(?P<operation>[a-z-]+?)\.log"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogName:
    """Readable, and one for each engine process. `digest`: 12 digits of that of the manifest."""

    model: str
    digest: str
    engine: str
    operation: str

    @classmethod
    def parse(cls, file_name: str) -> Self | None:
        """None for files that are no logs of engines."""
        match = _NAME.fullmatch(file_name)
        return cls(**match.groupdict()) if match else None

    def __str__(self) -> str:
        model = re.sub(r"[^A-Za-z0-9._-]+", "_", self.model)[-80:]
        return f"{model}-{self.digest}-{self.engine}-{self.operation}.log"


def sweep_logs(folder: Path) -> None:
    """Removes the oldest beyond the number that is kept."""
    found = []
    for path in folder.glob("*.log"):
        with suppress(OSError):
            found.append((path.stat().st_mtime, path))
    for _, path in sorted(found, reverse=True)[_KEPT_LOGS:]:
        for old in (path, predecessor(path)):
            with suppress(OSError):
                old.unlink()


def predecessor(path: Path) -> Path:
    """Where the leash puts a log that is full."""
    return path.with_name(f"{path.name}.1")


class Tail:
    """The last lines of a log and those that come, also while it moves away to make room."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode: int | None = None
        self._offset = 0
        self._held = b""

    def read(self, *, last: bool) -> str:
        """New whole lines, with `last` also one that has no end yet; empty when there are none."""
        with suppress(OSError), self.path.open("rb") as file:
            self._follow(file)
            self._held += self._read_on(file)
        whole = len(self._held) if last or len(self._held) > _PIECE_BYTES else self._held.rfind(b"\n") + 1
        text, self._held = self._held[:whole], self._held[whole:]
        return text.decode(errors="replace")

    def _follow(self, file: BinaryIO) -> None:
        """Places us where to go on in `file`, which may be another one than last time."""
        status = os.fstat(file.fileno())
        if self._inode is None:
            self._offset = max(0, status.st_size - _TAIL_BYTES)
            if self._offset:
                file.seek(self._offset)
                self._offset += len(file.readline())  # begins with a whole line
        elif self._inode != status.st_ino:
            self._held += self._rest_of_predecessor()
            self._offset = 0
        elif status.st_size < self._offset:  # emptied by hand
            self._offset = 0
        self._inode = status.st_ino

    def _rest_of_predecessor(self) -> bytes:
        with suppress(OSError), predecessor(self.path).open("rb") as file:
            if os.fstat(file.fileno()).st_ino == self._inode:
                file.seek(self._offset)
                return file.read()
        return b""

    def _read_on(self, file: BinaryIO) -> bytes:
        file.seek(self._offset)
        content = file.read(_PIECE_BYTES)
        self._offset += len(content)
        return content

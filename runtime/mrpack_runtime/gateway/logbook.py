"""What happened: the gateway's own last lines in memory, and the files that engines write."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_KEPT_LINES: Final = 2000
_TAIL_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 256 * 1024
_FOLLOW_PAUSE_S: Final = 0.2


class LogBook(logging.Handler):
    """`log_folder` is where the workshop puts the engines' logs."""

    def __init__(self, log_folder: Path) -> None:
        super().__init__()
        self._folder = log_folder
        self._records: deque[tuple[int, logging.LogRecord]] = deque(maxlen=_KEPT_LINES)
        self._count = 0
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._count += 1
        self._records.append((self._count, record))  # formatted by whoever reads it

    async def read(self, *, engines: bool, follow: bool) -> AsyncIterator[str]:
        """The last lines, each engine's under a heading; then, with `follow`, what comes, without end."""
        seen = 0
        offsets: dict[Path, int] = {}
        while True:
            seen, text = self._own_lines(seen)
            if text:
                yield text
            if engines:
                for path, content in await asyncio.to_thread(self._engine_pieces, offsets):
                    yield f"==> {path.stem} <==\n{content}"
            if not follow:
                return
            await asyncio.sleep(_FOLLOW_PAUSE_S)

    def _own_lines(self, seen: int) -> tuple[int, str]:
        fresh = [record for number, record in self._records if number > seen]
        return self._count, "".join(f"{self.format(record)}\n" for record in fresh)

    def _engine_pieces(self, offsets: dict[Path, int]) -> list[tuple[Path, str]]:
        return list(self._new_pieces(offsets))

    def _new_pieces(self, offsets: dict[Path, int]) -> Iterator[tuple[Path, str]]:
        with suppress(OSError):
            for path in sorted(self._folder.glob("*.log"), key=lambda path: path.stat().st_mtime):
                size = path.stat().st_size
                start = offsets.get(path, max(0, size - _TAIL_BYTES))
                if size < start:  # a new file after rotation
                    start = 0
                with path.open("rb") as file:
                    file.seek(start)
                    content = file.read(_PIECE_BYTES)
                offsets[path] = start + len(content)
                if content:
                    yield path, content.decode(errors="replace")

"""What happened: the gateway's own last lines in memory, and the files that engines write."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

from mrpack_runtime.processes.engine_logs import LogName, Tail

_KEPT_LINES: Final = 2000
_FOLLOW_PAUSE_S: Final = 0.2
_GATEWAY: Final = "gateway"
JSON_LINES: Final = "mrpack_runtime.gateway.transcripts"
"""The logger whose messages are lines of JSON."""

Choice = Callable[[LogName], bool]


def all_engines(_: LogName) -> bool:
    return True


class _Lines(logging.Formatter):
    """What is JSON already stays as it is."""

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if record.name == JSON_LINES else super().format(record)


class LogBook(logging.Handler):
    """`log_folder` is where the workshop puts the engines' logs."""

    def __init__(self, log_folder: Path) -> None:
        super().__init__()
        self._folder = log_folder
        self._records: deque[tuple[int, logging.LogRecord]] = deque(maxlen=_KEPT_LINES)
        self._count = 0
        self.setFormatter(_Lines("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._count += 1
        self._records.append((self._count, record))  # formatted by whoever reads it

    async def read(
        self, *, own: bool = True, engines: Choice | None = all_engines, follow: bool
    ) -> AsyncIterator[str]:
        """The last lines, the gateway's first, then each engine's; with `follow` what comes, without end.

        A heading stands where the lines of another begin. `engines` None: no lines of engines.
        """
        seen = 0
        source = _GATEWAY
        tails: dict[Path, Tail] = {}
        while True:
            pieces: list[tuple[str, str]] = []
            if own:
                seen, text = self._own_lines(seen)
                pieces.append((_GATEWAY, text))
            if engines is not None:
                pieces += await asyncio.to_thread(self._engine_lines, tails, engines, last=not follow)
            for name, text in pieces:
                if text:
                    yield text if name == source else f"==> {name} <==\n{text}"
                    source = name
            if not follow:
                return
            await asyncio.sleep(_FOLLOW_PAUSE_S)

    def _own_lines(self, seen: int) -> tuple[int, str]:
        fresh = [record for number, record in self._records if number > seen]
        return self._count, "".join(f"{self.format(record)}\n" for record in fresh)

    def _engine_lines(self, tails: dict[Path, Tail], chosen: Choice, *, last: bool) -> list[tuple[str, str]]:
        for path in self._files(chosen):
            tails.setdefault(path, Tail(path))
        return [(path.stem, tail.read(last=last)) for path, tail in tails.items()]

    def _files(self, chosen: Choice) -> Iterator[Path]:
        """Those that were written to last come last."""
        found = []
        for path in self._folder.glob("*.log"):
            name = LogName.parse(path.name)
            if name is not None and chosen(name):
                try:
                    found.append((path.stat().st_mtime, path))
                except OSError:  # it became its own predecessor a moment ago
                    continue
        return (path for _, path in sorted(found))

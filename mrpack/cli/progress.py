"""How the progress of a transfer looks: bars on a terminal, lines elsewhere, JSON for machines."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

from mrpack.cli.invocation import Invocation
from mrpack.cli.messages import can_redraw, tell
from mrpack.content.progress import Advanced, Counted, Event, Finished, Planned, Report, Worked, silent
from mrpack.model.amounts import human_size

# Machines get at most this many lines a second and blob.
_JSON_INTERVAL_S: Final = 0.2


@contextlib.contextmanager
def reporting(invocation: Invocation, verb: str) -> Iterator[Report]:
    """The report for one transfer; `verb` as people read it, such as "pulling"."""
    how = invocation.progress
    if invocation.quiet or how == "none":
        yield silent
    elif how == "json":
        yield _JsonLines(verb)
    elif how == "auto" and can_redraw(sys.stderr):
        from mrpack.cli.bars import bars  # noqa: PLC0415  # rich: 70 ms, only for a terminal

        with bars(verb) as report:
            yield report
    else:
        yield _Lines(verb)


class _JsonLines:
    """One object a line: `{"event","digest"|"what","size","position"|"outcome"}`; keys are stable.

    What is counted rather than measured has `"count","done","unit"`.
    """

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case Planned(blobs):
                total = sum(blob.size for blob in blobs)
                self._write({"event": "planned", "verb": self._verb, "blobs": len(blobs), "size": total})
            case Advanced(blob, position):
                digest = str(blob.digest)
                if self._is_due(digest):
                    self._write(
                        {"event": "advanced", "digest": digest, "size": blob.size, "position": position}
                    )
            case Worked(what, size, position):
                if position == size or self._is_due(what):
                    self._write({"event": "worked", "what": what, "size": size, "position": position})
            case Counted(what, done, count, unit):
                if done == count or self._is_due(what):
                    self._write(
                        {"event": "counted", "what": what, "count": count, "done": done, "unit": unit}
                    )
            case Finished(blob, outcome):
                self._write(
                    {
                        "event": "finished",
                        "digest": str(blob.digest),
                        "size": blob.size,
                        "outcome": str(outcome),
                    }
                )

    def _is_due(self, name: str) -> bool:
        now = time.monotonic()
        with self._lock:
            if now - self._last.get(name, 0.0) < _JSON_INTERVAL_S:
                return False
            self._last[name] = now
            return True

    def _write(self, value: dict[str, object]) -> None:
        with self._lock:
            tell(json.dumps(value))


class _Lines:
    """One line a finished layer, and each tenth of what is counted, for logs."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._lock = threading.Lock()
        self._started: dict[str, float] = {}
        self._tenth: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case Advanced(blob, _):
                self._started.setdefault(blob.digest.hex, time.monotonic())
            case Finished(blob, outcome):
                took = time.monotonic() - self._started.get(blob.digest.hex, time.monotonic())
                rate = f", {human_size(blob.size / took)}/s" if took > 1 else ""
                with self._lock:
                    tell(f"{self._verb} {blob.digest.short}  {human_size(blob.size)}  {outcome}{rate}")
            case Worked(what, size, position):
                started = self._started.setdefault(what, time.monotonic())
                took = time.monotonic() - started
                if position == size and took > 1:
                    with self._lock:
                        tell(f"{what}  {human_size(size)}, {human_size(size / took)}/s")
            case Counted(what, done, count, unit):
                with self._lock:
                    if 10 * done // count != self._tenth.get(what):
                        self._tenth[what] = 10 * done // count
                        tell(f"{what}  {done} of {count} {unit}")
            case Planned():
                pass

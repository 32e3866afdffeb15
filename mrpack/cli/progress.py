"""How the progress of a transfer looks: bars on a terminal, lines elsewhere, JSON for machines."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

import click

from mrpack.cli.invocation import Invocation
from mrpack.content.progress import Advanced, Event, Finished, Planned, Report, Worked, silent
from mrpack.oci.descriptor import Descriptor

# Machines get at most this many lines a second and blob.
_JSON_INTERVAL_S: Final = 0.2
# A file that is hashed in less than one picture of the bars.
_WORTH_A_BAR: Final = 32 * 1024 * 1024


def human_size(size: float) -> str:
    """Bytes in binary units, such as `256.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


@contextlib.contextmanager
def reporting(invocation: Invocation, verb: str) -> Iterator[Report]:
    """The report for one transfer; `verb` as people read it, such as "pulling"."""
    how = invocation.progress
    if invocation.quiet or how == "none":
        yield silent
    elif how == "json":
        yield _JsonLines(verb)
    elif how == "auto" and sys.stderr.isatty():
        with _bars(verb) as report:
            yield report
    else:
        yield _Lines(verb)


def _tell(line: str) -> None:
    """A reader of standard error that left, such as `head`, must not end the transfer."""
    with contextlib.suppress(BrokenPipeError):
        click.echo(line, err=True)


class _JsonLines:
    """One object a line: `{"event","digest"|"what","size","position"|"outcome"}`; keys are stable."""

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
            _tell(json.dumps(value))


class _Lines:
    """One line a finished layer, for logs."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._lock = threading.Lock()
        self._started: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case Advanced(blob, _):
                self._started.setdefault(blob.digest.hex, time.monotonic())
            case Finished(blob, outcome):
                took = time.monotonic() - self._started.get(blob.digest.hex, time.monotonic())
                rate = f", {human_size(blob.size / took)}/s" if took > 1 else ""
                with self._lock:
                    _tell(f"{self._verb} {blob.digest.short}  {human_size(blob.size)}  {outcome}{rate}")
            case Worked(what, size, position):
                started = self._started.setdefault(what, time.monotonic())
                took = time.monotonic() - started
                if position == size and took > 1:
                    with self._lock:
                        _tell(f"{what}  {human_size(size)}, {human_size(size / took)}/s")
            case Planned():
                pass


@contextlib.contextmanager
def _bars(verb: str) -> Iterator[Report]:
    """A bar a blob with rate and time left; blobs under 1 MiB share the line of their outcome."""
    from rich.console import Console  # noqa: PLC0415  # 70 ms, only for a terminal
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[outcome]}"),
        console=Console(stderr=True),
    )
    tasks: dict[str, TaskID] = {}
    lock = threading.Lock()

    def bar(name: str, words: str, size: int) -> TaskID:
        with lock:
            if name not in tasks:
                tasks[name] = bars.add_task(words, total=size, outcome="")
            return tasks[name]

    def task(blob: Descriptor) -> TaskID:
        return bar(blob.digest.hex, f"{verb} {blob.digest.short}", blob.size)

    def report(event: Event) -> None:
        match event:
            case Advanced(blob, position):
                bars.update(task(blob), completed=position)
            case Finished(blob, outcome):
                bars.update(task(blob), completed=blob.size, outcome=str(outcome))
            case Worked(what, size, position) if size >= _WORTH_A_BAR:
                bars.update(bar(what, what, size), completed=position, visible=position < size)
            case Planned() | Worked():
                pass

    with bars:
        yield report

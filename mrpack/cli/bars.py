"""Progress on a terminal: a bar for each blob and each piece of work, drawn by rich."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from mrpack.content.progress import Advanced, Counted, Event, Finished, Planned, Report, Worked
from mrpack.oci.descriptor import Descriptor

# A file that is hashed in less than one picture of the bars.
_WORTH_A_BAR: Final = 32 * 1024 * 1024


class _Amount(DownloadColumn):
    """Bytes, or how many of what is counted."""

    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        return Text(f"{task.completed:.0f}/{task.total:.0f} {unit}") if unit else super().render(task)


class _Rate(TransferSpeedColumn):
    """Of bytes alone: one thing that is counted is not as large as the next."""

    def render(self, task: Task) -> Text:
        return Text() if task.fields["unit"] else super().render(task)


@contextlib.contextmanager
def bars(verb: str) -> Iterator[Report]:
    """A bar a blob with rate and time left; what is done quickly gets none."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        _Amount(binary_units=True),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[outcome]}"),
        console=Console(stderr=True),
    )
    tasks: dict[str, TaskID] = {}
    lock = threading.Lock()

    def bar(name: str, words: str, size: int, unit: str = "") -> TaskID:
        with lock:
            if name not in tasks:
                tasks[name] = progress.add_task(words, total=size, outcome="", unit=unit)
            return tasks[name]

    def task(blob: Descriptor) -> TaskID:
        return bar(blob.digest.hex, f"{verb} {blob.digest.short}", blob.size)

    def report(event: Event) -> None:
        match event:
            case Advanced(blob, position):
                progress.update(task(blob), completed=position)
            case Finished(blob, outcome):
                progress.update(task(blob), completed=blob.size, outcome=str(outcome))
            case Worked(what, size, position) if size >= _WORTH_A_BAR:
                progress.update(bar(what, what, size), completed=position, visible=position < size)
            case Counted(what, done, count, unit):
                progress.update(bar(what, what, count, unit), completed=done)
            case Planned() | Worked():
                pass

    with progress:
        yield report

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
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from mrpack.content.progress import Advanced, Counted, Event, Finished, Planned, Report, Worked
from mrpack.model.amounts import human_size
from mrpack.oci.descriptor import Descriptor

# A file that is hashed in less than one picture of the bars.
_WORTH_A_BAR: Final = 32 * 1024 * 1024
# Characters: of `pulling 6b6090ab34b6`; the least and the most of a bar; of all figures with the spaces
# between them, and of those alone that a narrow terminal shows.
_WORDS: Final = 20
_BAR: Final = (8, 30)
_FIGURES: Final = 52
_FEW_FIGURES: Final = 19


class _Amount(DownloadColumn):
    """Bytes, or how many of what is counted."""

    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        return Text(f"{task.completed:.0f}/{task.total:.0f} {unit}") if unit else super().render(task)


class _Rate(ProgressColumn):
    """Of bytes alone: one thing that is counted is not as large as the next."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        shown = "" if task.fields["unit"] or speed is None else f"{human_size(speed)}/s"
        return Text(shown, style="progress.data.speed")


class _Percent(ProgressColumn):
    """A blob is not done before it has its name, though all of it is here."""

    def render(self, task: Task) -> Text:
        is_done = task.fields["outcome"] or (task.fields["unit"] and task.finished)
        return Text(f"{100 if is_done else min(99, int(task.percentage))} %".rjust(5))


def _columns(width: int) -> tuple[ProgressColumn, ...]:
    """What fits into so many characters."""
    room = width - _FIGURES
    if room < _WORDS + _BAR[0]:
        return (_what(max(_WORDS // 2, width - _FEW_FIGURES)), _Percent(), _Rate())
    bar = min(_BAR[1], room - _WORDS)
    return (
        _what(room - bar),
        BarColumn(bar_width=bar),
        _Amount(binary_units=True),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[outcome]}"),
    )


def _what(width: int) -> TextColumn:
    column = Column(no_wrap=True, overflow="ellipsis", max_width=width)
    return TextColumn("{task.description}", markup=False, table_column=column)


@contextlib.contextmanager
def bars(verb: str) -> Iterator[Report]:
    """A bar a blob with rate and time left; what is done quickly gets none."""
    console = Console(stderr=True)
    progress = Progress(*_columns(console.width), console=console)
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

"""Results and messages for people: either output may be full, closed, or left by its reader."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO

import click

from mrpack.errors import from_os_error


def can_redraw(stream: TextIO) -> bool:
    """Whether what stands there can be written over: on terminals, but not on those of editors."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}


def columns(stream: TextIO) -> int | None:
    """Of its terminal, as it says or COLUMNS; None where lines may have any length."""
    if not stream.isatty():
        return None
    try:
        return int(os.environ.get("COLUMNS") or os.get_terminal_size(stream.fileno()).columns) or None
    except (OSError, ValueError):
        return None


def tell(line: str) -> None:
    """One that cannot be written changes nothing about the work, and is the last that is tried."""
    try:
        click.echo(line, err=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


@contextlib.contextmanager
def writing_result() -> Iterator[None]:
    """Around what writes to standard output. Raises HostRefused; BrokenPipeError when nobody reads it."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is left in the buffer would fail once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise from_os_error(error, "write the result") from error


def fill_closed_streams() -> None:
    """Else the next file that is opened, a blob of the store perhaps, gets the number where messages go."""
    if None not in {sys.stdin, sys.stdout, sys.stderr}:
        return
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:  # the number of standard error
        pass
    os.close(handle)
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")

"""What people are told: on standard error, which may be full, closed, or left by its reader."""

from __future__ import annotations

import os
import sys

import click


def tell(line: str) -> None:
    """One that cannot be written changes nothing about the work, and is the last that is tried."""
    try:
        click.echo(line, err=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


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

"""Live views: the same look again and again, in place on a terminal, elsewhere one after another."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import click

from mrpack.cli.invocation import Invocation
from mrpack.cli.messages import can_redraw, writing_result

watch_option = click.option(
    "--watch",
    is_flag=False,
    flag_value=2.0,
    type=click.FloatRange(0.1, 86400),
    metavar="[SECONDS]",
    help="Look again every so often (2 s), until Ctrl-C; with --json one line each time.",
)


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen: for people, and as JSON."""

    text: str
    value: Any


def show(invocation: Invocation, look: Callable[[], Look], interval_s: float) -> NoReturn:
    """Until Ctrl-C, or an error of `look`."""
    if invocation.json:
        _lines(look, interval_s)
    if can_redraw(sys.stdout):
        _live(look, interval_s)
    _blocks(look, interval_s)


def _lines(look: Callable[[], Look], interval_s: float) -> NoReturn:
    while True:
        seen = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "seen": look().value}
        with writing_result():
            click.echo(json.dumps(seen, ensure_ascii=False))
        time.sleep(interval_s)


def _blocks(look: Callable[[], Look], interval_s: float) -> NoReturn:
    while True:
        text = look().text
        with writing_result():
            click.echo(f"# {_now()}\n{text}\n")
        time.sleep(interval_s)


def _live(look: Callable[[], Look], interval_s: float) -> NoReturn:
    from rich.console import Console  # noqa: PLC0415  # 70 ms, only for a terminal
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    def drawn() -> Text:
        seen = Text(look().text, no_wrap=True, overflow="ellipsis")
        return seen.append(f"\n\n{_now()}, every {interval_s:g} s; Ctrl-C ends", style="dim")

    first = drawn()
    with Live(first, console=Console(highlight=False), auto_refresh=False) as live:
        while True:
            time.sleep(interval_s)
            live.update(drawn(), refresh=True)


def _now() -> str:
    return datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")

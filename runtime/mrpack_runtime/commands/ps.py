"""The command `ps`: the models that are loaded."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.messages import columns
from mrpack.cli.table import narrowed, printable, render_table
from mrpack_runtime.commands.address import client_options
from mrpack_runtime.commands.watching import Look, show, watch_option
from mrpack_runtime.machine.memory import Memory

if TYPE_CHECKING:
    from mrpack_runtime.wire.client import GatewayClient

_NONE: Final = "no models are loaded"
# Columns that a narrow terminal does without; all of them are in --json.
_SPARE: Final = ("PID", "MODE")


@command("ps")
@click.option(
    "--wide", is_flag=True, help="Show the exact command of each engine too, and why it was chosen."
)
@watch_option
@client_options
def ps(invocation: Invocation, *, wide: bool, watch: float | None, client: GatewayClient) -> None:
    """List the models that are loaded, with their engines.

    \b
    Examples:
      mrpack ps
      mrpack ps --wide
      mrpack ps --watch
    """

    def look() -> Look:
        entries = client.ps(wide=wide or invocation.json)
        return Look(_text(entries, wide=wide), entries)

    if watch is not None:
        show(invocation, lambda: _never_empty(look()), watch)
    seen = look()
    invocation.result(seen.text, seen.value)
    if not seen.value:
        invocation.say(_NONE)


def _never_empty(seen: Look) -> Look:
    return seen if seen.value else Look(_NONE, seen.value)


def _text(entries: list[dict[str, Any]], *, wide: bool) -> str:
    rows = [
        (
            str(entry["model_name"]),
            str(entry["backend_name"]),
            str(entry["mode"]),
            _state(entry),
            _until(entry),
            str(entry.get("pid") or ""),
        )
        for entry in entries
    ]
    header = ("MODEL", "ENGINE", "MODE", "STATE", "UNTIL", "PID")
    text = render_table(*narrowed(header, rows, columns(sys.stdout), _SPARE))
    for entry in entries if wide else ():
        lines = [f"# {entry['model_name']}: {entry.get('why', '')}"]
        if confinement := entry.get("confinement"):
            lines.append(f"# may touch: {confinement}")
        if memory := entry.get("memory"):
            lines.append(f"# expected to take {Memory(memory['host'], tuple(memory['gpus']))}")
        lines.append(shlex.join(entry.get("command", [])))
        text += "\n\n" + "\n".join(map(printable, lines))
    return text


def _state(entry: dict[str, Any]) -> str:
    if entry.get("requests"):
        return f"busy ({entry['requests']})"
    return str(entry.get("phase", ""))


def _until(entry: dict[str, Any]) -> str:
    """When it is unloaded, should nobody ask for it."""
    if entry.get("keep_alive") == "-1":
        return "for ever"
    seconds = entry.get("expires_in_s")
    if seconds is None:
        return ""
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"

"""The command `ps`: the models that are loaded."""

from __future__ import annotations

import shlex
from typing import Any

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.table import printable, render_table
from mrpack_runtime.client import GatewayClient
from mrpack_runtime.commands.address import client_options


@command("ps")
@click.option(
    "--wide", is_flag=True, help="Show the exact command of each engine too, and why it was chosen."
)
@client_options
def ps(invocation: Invocation, *, wide: bool, client: GatewayClient) -> None:
    """List the models that are loaded, with their engines.

    \b
    Examples:
      mrpack ps
      mrpack ps --wide
    """
    entries = client.ps(wide=wide or invocation.json)
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
    text = render_table(("MODEL", "ENGINE", "MODE", "STATE", "UNTIL", "PID"), rows)
    if wide:
        for entry in entries:
            heading = f"# {entry['model_name']}: {entry.get('why', '')}"
            text += f"\n\n{printable(heading)}\n{printable(shlex.join(entry.get('command', [])))}"
    invocation.result(text, entries)
    if not entries:
        invocation.say("no models are loaded")


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

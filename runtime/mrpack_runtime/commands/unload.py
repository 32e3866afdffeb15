"""The command `unload`: free the memory that models take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.values import local_models
from mrpack.errors import HostRefused, UsageError
from mrpack.model.amounts import counted
from mrpack_runtime.commands.address import client_options

if TYPE_CHECKING:
    from mrpack_runtime.wire.client import GatewayClient


@command("unload")
@click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=local_models)
@click.option("--all", "everything", is_flag=True, help="All models.")
@click.option("--backend", default="", metavar="ENGINE", help="Only from this engine.")
@click.option("--force", is_flag=True, help="Also those that answer requests; these fail then.")
@client_options
def unload(
    invocation: Invocation,
    *,
    models: tuple[str, ...],
    everything: bool,
    backend: str,
    force: bool,
    client: GatewayClient,
) -> None:
    """Unload MODELs, or all. Those that answer requests stay, unless forced.

    \b
    Examples:
      mrpack unload smollm2
      mrpack unload --all
    """
    if bool(models) == everything:
        raise UsageError("name the MODELs to unload, or give --all")
    result = client.unload(models, engine=backend, everything=everything, force=force)
    busy = [str(name) for name in result.get("busy", [])]
    count = int(result.get("unloaded_runners", 0))
    invocation.result(f"unloaded {counted(count, 'model')}", {"unloaded": count, "busy": busy})
    if busy:
        raise HostRefused(f"busy: {', '.join(busy)}", hint="wait for its requests, or use --force")

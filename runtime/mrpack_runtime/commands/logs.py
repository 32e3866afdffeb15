"""The command `logs`: what the gateway and its engines wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.messages import writing_result
from mrpack.cli.table import printable
from mrpack.errors import UsageError
from mrpack_runtime.commands.address import client_options

if TYPE_CHECKING:
    from mrpack_runtime.wire.client import GatewayClient


@command("logs")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written, until Ctrl-C.")
@click.option(
    "--engine", default="", metavar="ENGINE|MODEL", help="What this engine, or this model's, wrote."
)
@click.option("--no-engines", is_flag=True, help="The gateway's own lines alone.")
@client_options
def logs(
    invocation: Invocation, *, follow: bool, engine: str, no_engines: bool, client: GatewayClient
) -> None:
    """Show the last lines of the gateway's log and of its engines'.

    \b
    Examples:
      mrpack logs -f
      mrpack logs --engine smollm2
    """
    if engine and no_engines:
        raise UsageError("--engine and --no-engines exclude each other")
    pieces: list[str] = []
    for piece in client.logs(engines=not no_engines, engine=engine, follow=follow):
        if invocation.json and not follow:
            pieces.append(piece)
        else:
            with writing_result():
                click.echo("\n".join(printable(line.expandtabs()) for line in piece.split("\n")), nl=False)
    if invocation.json and not follow:
        invocation.result("", {"log": "".join(pieces)})

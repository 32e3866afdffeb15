"""The command `logs`: what the gateway and its engines wrote."""

from __future__ import annotations

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.table import printable
from mrpack_runtime.client import GatewayClient
from mrpack_runtime.commands.address import client_options


@command("logs")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written, until Ctrl-C.")
@click.option("--no-engines", is_flag=True, help="The gateway's own lines alone.")
@client_options
def logs(invocation: Invocation, *, follow: bool, no_engines: bool, client: GatewayClient) -> None:
    """Show the last lines of the gateway's log and of its engines'.

    \b
    Example:
      mrpack logs -f
    """
    pieces: list[str] = []
    for piece in client.logs(engines=not no_engines, follow=follow):
        if invocation.json and not follow:
            pieces.append(piece)
        else:
            click.echo("\n".join(printable(line) for line in piece.split("\n")), nl=False)
    if pieces:
        invocation.result("", {"log": "".join(pieces)})

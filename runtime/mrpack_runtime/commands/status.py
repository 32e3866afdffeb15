"""The command `status`: is a gateway there, and which engines are."""

from __future__ import annotations

import os

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.table import render_table
from mrpack_runtime.client import GatewayClient, NotRunning
from mrpack_runtime.commands.address import client_options


@command("status")
@client_options
def status(invocation: Invocation, *, client: GatewayClient) -> None:
    """Show the running gateway and the engines. Exit code 3 when none is running.

    \b
    Example:
      mrpack status --json
    """
    try:
        version: str | None = client.version()
        engines = client.engines()
    except NotRunning:
        version = None
        engines = _installed()
    rows = []
    for name, text in engines.items():
        word, _, detail = text.partition(": ")
        rows.append((name, word, detail))
    running = version is not None
    first = f"mrpack {version} is running at {client.url}" if running else f"no gateway at {client.url}"
    table = render_table(("ENGINE", "STATUS", "DETAILS"), rows)
    invocation.result(
        f"{first}\n\n{table}",
        {"running": running, "endpoint": client.url, "version": version, "engines": engines},
    )
    if not running:
        click.get_current_context().exit(NotRunning.exit_code)


def _installed() -> dict[str, str]:
    from mrpack_runtime.availability import availability  # noqa: PLC0415  # a running gateway knows it
    from mrpack_runtime.engines import engines  # noqa: PLC0415
    from mrpack_runtime.host import probe_host  # noqa: PLC0415

    return availability(engines(), probe_host(os.environ))

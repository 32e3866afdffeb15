"""The command `status`: is a gateway there, and which engines are."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.messages import columns
from mrpack.cli.table import render_table
from mrpack.errors import NotFound
from mrpack.model.amounts import counted
from mrpack_runtime.commands.address import client_options
from mrpack_runtime.commands.watching import Look, show, watch_option

if TYPE_CHECKING:
    from mrpack_runtime.wire.client import GatewayClient


@command("status")
@watch_option
@client_options
def status(invocation: Invocation, *, watch: float | None, client: GatewayClient) -> None:
    """Show the running gateway and the engines. Exit code 3 when none is running.

    \b
    Examples:
      mrpack status --json
      mrpack status --watch 1
    """
    installed = functools.cache(lambda: _installed(invocation))

    def look() -> Look:
        return _look(client, installed)

    if watch is not None:
        show(invocation, look, watch)
    seen = look()
    invocation.result(seen.text, seen.value)
    if not seen.value["running"]:
        click.get_current_context().exit(NotFound.exit_code)


def _look(client: GatewayClient, installed: Callable[[], dict[str, str]]) -> Look:
    from mrpack_runtime.wire.client import NotRunning  # noqa: PLC0415  # --help speaks no HTTP

    try:
        version: str | None = client.version()
        engines = client.engines()
        models = client.ps()
        first = f"mrpack {version} is running at {client.url}"
    except NotRunning as error:
        version, engines, models = None, installed(), []
        first = str(error)
    rows = []
    for name, text in engines.items():
        word, _, detail = text.partition(": ")
        rows.append((name, word, detail))
    parts = [first, render_table(("ENGINE", "STATUS", "DETAILS"), rows, columns(sys.stdout))]
    requests = sum(int(entry.get("requests") or 0) for entry in models)
    if models:
        parts.append(f"{counted(len(models), 'model')} loaded, {counted(requests, 'request')} under way")
    value = {
        "running": version is not None,
        "endpoint": client.url,
        "version": version,
        "engines": engines,
        "models_loaded": len(models),
        "requests": requests,
    }
    return Look("\n\n".join(parts), value)


def _installed(invocation: Invocation) -> dict[str, str]:
    from mrpack_runtime.engines import engines  # noqa: PLC0415
    from mrpack_runtime.runners.availability import availability  # noqa: PLC0415  # a running gateway knows it
    from mrpack_runtime.runners.host import host_with_engines  # noqa: PLC0415

    with host_with_engines(invocation.settings.home, os.environ) as host:
        return availability(engines(), host())

"""The command `serve`: the gateway in the foreground."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
from typing import Any

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.errors import UsageError
from mrpack_runtime.client import GatewayClient
from mrpack_runtime.commands.address import address_options
from mrpack_runtime.commands.tuning import tuning_options
from mrpack_runtime.engine import Endpoint, TcpEndpoint
from mrpack_runtime.settings import CommandSettings


@command("serve")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@address_options
@tuning_options
@click.option(
    "--pull",
    type=click.Choice(["missing", "never"]),
    default="never",
    show_default=True,
    help="Whether models that are asked for and missing are pulled.",
)
@click.option(
    "--max-loaded",
    type=click.IntRange(1, 64),
    default=3,
    show_default=True,
    metavar="N",
    help="Engines at once; the one that was not used for the longest time makes room.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Answer to this Host too, such as gpu.example.com; may be repeated.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Let web pages of this origin in, such as http://localhost:3000 or http://localhost:*.",
)
@click.option("--dry-run", is_flag=True, help="Only show how MODELs would be run, with the exact command.")
def serve(
    invocation: Invocation,
    *,
    models: tuple[str, ...],
    endpoint: Endpoint,
    api_keys: tuple[str, ...],
    backend: str | None,
    tuning: CommandSettings,
    pull: str,
    max_loaded: int,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Serve local models over OpenAI's HTTP API, until it is stopped.

    MODELs are loaded at once and stay loaded; all others are loaded when they are asked for. Other machines
    are let in with --host, and then an API key is needed.

    \b
    Examples:
      mrpack serve
      mrpack serve smollm2 --context-size 4096
      mrpack serve smollm2 --dry-run
      mrpack serve --socket ./gateway.sock
    """
    from mrpack_runtime.assembly import GatewayOptions  # noqa: PLC0415  # --help needs no aiohttp
    from mrpack_runtime.gateway.guard import Policy, hash_key, is_loopback  # noqa: PLC0415
    from mrpack_runtime.scheduling import PoolLimits  # noqa: PLC0415

    if len(models) > max_loaded:
        raise UsageError(f"{len(models)} models are more than --max-loaded {max_loaded}")
    options = GatewayOptions(
        policy=Policy(
            hosts=frozenset(name.lower() for name in hosts),
            origins=origins,
            key_hashes=tuple(hash_key(key) for key in api_keys),
            beyond_loopback=isinstance(endpoint, TcpEndpoint) and not is_loopback(endpoint.host),
            check_host=isinstance(endpoint, TcpEndpoint),
        ),
        limits=PoolLimits(max_loaded=max_loaded),
        tuning=tuning,
        backend=backend,
        pull=pull == "missing",
    )
    if dry_run:
        _show(invocation, models, options)
        return
    code = _serve(invocation, endpoint, models, options)
    if code:
        click.get_current_context().exit(code)


def _serve(invocation: Invocation, endpoint: Endpoint, models: tuple[str, ...], options: Any) -> int:
    from mrpack_runtime.assembly import build_gateway  # noqa: PLC0415
    from mrpack_runtime.gateway.app import run_loop, serve  # noqa: PLC0415
    from mrpack_runtime.host import probe_host  # noqa: PLC0415

    def on_listening(bound: Endpoint) -> None:
        url = GatewayClient(bound).url
        invocation.result(url, {"url": url, "pid": os.getpid()})
        invocation.say(
            f"serving at {url}" + ("" if url.startswith("unix:") else "/v1") + ", stop with Ctrl-C"
        )

    async def main() -> int:
        gateway = build_gateway(invocation.workspace, probe_host(os.environ), options)
        keep_log(gateway.logbook)
        return await serve(
            gateway,
            endpoint,
            preload=models,
            on_listening=on_listening,
            on_loaded=lambda name: invocation.say(f"loaded {name}"),
        )

    return run_loop(main())


def keep_log(logbook: logging.Handler) -> None:
    """`/logs` shows all that the runtime does, whatever standard error shows."""
    root = logging.getLogger()
    for handler in root.handlers:
        handler.setLevel(root.level)
    runtime = logging.getLogger("mrpack_runtime")
    runtime.setLevel(min(logging.INFO, root.level))
    runtime.addHandler(logbook)


def _show(invocation: Invocation, models: tuple[str, ...], options: Any) -> None:
    from mrpack_runtime.assembly import build_resolver, build_workshop  # noqa: PLC0415
    from mrpack_runtime.host import probe_host  # noqa: PLC0415

    if not models:
        raise UsageError("--dry-run needs a MODEL")
    host = probe_host(os.environ)
    workshop = build_workshop(invocation.workspace, host)

    async def resolve() -> list[Any]:
        resolver = build_resolver(invocation.workspace, host, options)
        return [await resolver.resolve(name, None, None) for name in models]

    lines = []
    values = []
    for want in asyncio.run(resolve()):
        launch = workshop.preview(want)
        lines += [f"# {want.bundle.name}: {want.choice.reason}", shlex.join(launch.argv)]
        values.append(
            {
                "model": want.bundle.name,
                "digest": str(want.bundle.digest),
                "engine": launch.engine,
                "launcher": launch.launcher,
                "version": launch.version,
                "operation": str(want.key.operation),
                "command": list(launch.argv),
                "environment": dict(launch.environment),
                "why": want.choice.reason,
                "sampling": dict(want.settings.sampling),
                "keep_alive_s": want.settings.keep_alive_s,
            }
        )
    invocation.result("\n".join(lines), values)

"""The command `serve`: the gateway in the foreground."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.sections import section
from mrpack.cli.values import FILE, Size, local_models
from mrpack.errors import UsageError
from mrpack_runtime.commands.address import address_options, read_api_keys
from mrpack_runtime.commands.tuning import tuning_options
from mrpack_runtime.wire.endpoint import Endpoint, TcpEndpoint, UnixEndpoint

if TYPE_CHECKING:
    import logging
    from ssl import SSLContext

    from mrpack_runtime.engine import Launch
    from mrpack_runtime.machine.host import HostNow
    from mrpack_runtime.settings.merged import CommandSettings
    from mrpack_runtime.want import Want


class MemorySize(Size):
    """A size, `all` or `none`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value in {"all", "none"} else super().convert(value, param, ctx)


@command("serve")
@click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=local_models)
@address_options
@section(
    "Access",
    click.option(
        "--allow-host",
        "hosts",
        multiple=True,
        metavar="NAME",
        help="Answer to this Host too, such as gpu.example.com; repeatable.",
    ),
    click.option(
        "--allow-origin",
        "origins",
        multiple=True,
        metavar="ORIGIN",
        help="Let web pages of this origin in, such as http://localhost:3000 or http://localhost:*; "
        "repeatable.",
    ),
    click.option(
        "--management-key-file",
        type=FILE,
        metavar="FILE",
        help="Keys for unload, logs, configure and what changes models, from other machines too.",
    ),
    click.option("--tls-cert", type=FILE, metavar="FILE", help="Speak TLS with this PEM file's certificate."),
    click.option("--tls-key", type=FILE, metavar="FILE", help="Its key, a PEM file of yours alone."),
)
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
    "--memory-limit",
    type=MemorySize(),
    default="all",
    show_default=True,
    metavar="SIZE",
    help="Memory that all engines may take together, such as 16G; `none`: do not watch it.",
)
@click.option(
    "--log-prompts",
    is_flag=True,
    help="Keep prompts and answers, up to 16 KiB each, in the log and for /engines/requests; keys are "
    "masked.",
)
@click.option("--verify", is_flag=True, help="Hash a model's files each time before it is loaded.")
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
    memory_limit: str | int,
    management_key_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    log_prompts: bool,
    verify: bool,
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
    from mrpack_runtime.assembly import GatewayOptions  # noqa: PLC0415  # --help needs no server
    from mrpack_runtime.gateway.guard import Policy, hash_key, is_loopback  # noqa: PLC0415
    from mrpack_runtime.scheduling import PoolLimits  # noqa: PLC0415

    if bool(tls_cert) != bool(tls_key):
        raise UsageError("--tls-cert and --tls-key go together")
    if tls_cert and isinstance(endpoint, UnixEndpoint):
        raise UsageError("a Unix socket needs no TLS")
    if isinstance(endpoint, TcpEndpoint) and "://" in endpoint.host:
        raise UsageError("--host is an address to listen on", hint="TLS needs --tls-cert and --tls-key")
    if len(models) > max_loaded:
        raise UsageError(f"{len(models)} models are more than --max-loaded {max_loaded}")
    options = GatewayOptions(
        policy=Policy(
            hosts=frozenset(name.lower() for name in hosts),
            origins=origins,
            key_hashes=tuple(hash_key(key) for key in api_keys),
            management_hashes=tuple(
                hash_key(key) for key in (read_api_keys(management_key_file) if management_key_file else ())
            ),
            beyond_loopback=isinstance(endpoint, TcpEndpoint) and not is_loopback(endpoint.host),
            check_host=isinstance(endpoint, TcpEndpoint),
        ),
        limits=PoolLimits(max_loaded=max_loaded),
        tuning=tuning,
        backend=backend,
        pull=pull == "missing",
        memory_limit=memory_limit if isinstance(memory_limit, int) else None,
        watch_memory=memory_limit != "none",
        log_prompts=log_prompts,
        verify=verify,
    )
    if dry_run:
        _show(invocation, models, options)
        return
    tls = None
    if tls_cert and tls_key:
        from mrpack_runtime.gateway.tls import server_context  # noqa: PLC0415

        tls = server_context(tls_cert, tls_key)
    if _serve(invocation, endpoint, models, options, tls):
        raise KeyboardInterrupt  # as every other command ends then
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # waits for no thread that pulls: the store stays whole, and the next pull goes on from there


def _serve(
    invocation: Invocation,
    endpoint: Endpoint,
    models: tuple[str, ...],
    options: Any,
    tls: SSLContext | None,
) -> int:
    from mrpack_runtime.assembly import build_gateway  # noqa: PLC0415
    from mrpack_runtime.gateway.app import run_loop, serve  # noqa: PLC0415
    from mrpack_runtime.runners.host import host_with_engines  # noqa: PLC0415
    from mrpack_runtime.wire.client import GatewayClient, Tls  # noqa: PLC0415

    def on_listening(bound: Endpoint) -> None:
        url = GatewayClient(bound, tls=Tls() if tls else None).url
        invocation.result(url, {"url": url, "pid": os.getpid()})
        invocation.say(
            f"serving at {url}" + ("" if url.startswith("unix:") else "/v1") + ", stop with Ctrl-C"
        )

    async def main() -> int:
        gateway = build_gateway(invocation.workspace, host, options)
        keep_log(gateway.logbook)
        return await serve(
            gateway,
            endpoint,
            preload=models,
            tls=tls,
            on_listening=on_listening,
            on_loaded=lambda name: invocation.say(f"loaded {name}"),
        )

    with host_with_engines(invocation.settings.home, os.environ) as host:
        return run_loop(main())


def keep_log(logbook: logging.Handler) -> None:
    """`/logs` shows all that the runtime does, whatever standard error shows."""
    import logging  # noqa: PLC0415  # --help writes no log

    root = logging.getLogger()
    for handler in root.handlers:
        handler.setLevel(root.level)
    runtime = logging.getLogger("mrpack_runtime")
    runtime.setLevel(min(logging.INFO, root.level))
    runtime.addHandler(logbook)


def _show(invocation: Invocation, models: tuple[str, ...], options: Any) -> None:
    import asyncio  # noqa: PLC0415  # --help resolves nothing

    from mrpack_runtime.assembly import build_resolver, build_workshop  # noqa: PLC0415
    from mrpack_runtime.runners.host import host_with_engines  # noqa: PLC0415

    if not models:
        raise UsageError("--dry-run needs a MODEL")

    async def resolve(host: HostNow) -> list[tuple[Want, Launch]]:
        workshop = build_workshop(invocation.workspace, host, options.tuning.sandbox)
        resolver = build_resolver(invocation.workspace, host, options)
        wants = [await resolver.resolve(name, None, None) for name in models]
        return [(want, workshop.preview(want)) for want in wants]

    lines = []
    values = []
    with host_with_engines(invocation.settings.home, os.environ) as host:
        found = asyncio.run(resolve(host))
    for want, launch in found:
        lines += [f"# {want.bundle.name}: {want.choice.reason}", f"# may touch: {launch.confinement}"]
        lines += [f"# expected to take {want.need}", shlex.join(launch.argv)]
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
                "confinement": launch.confinement,
                "why": want.choice.reason,
                "memory": {"host": want.need.host, "gpus": list(want.need.gpus)},
                "sampling": dict(want.settings.sampling),
                "keep_alive_s": want.settings.keep_alive_s,
            }
        )
    invocation.result("\n".join(lines), values)

"""The command `registry serve`."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.values import FILE
from mrpack.distribution import Naming, RegistryServer, Rules
from mrpack.errors import MrpackError, UsageError
from mrpack.oci.reference import Reference
from mrpack.store.layout import OciLayout


@click.group("registry")
def registry() -> None:
    """Serve the local store as an OCI registry.

    \b
    Example:
      mrpack registry serve --writable
    """


@command("serve")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5000,
    show_default=True,
    metavar="N",
    help="0 takes any free one.",
)
@click.option(
    "--host", default="127.0.0.1", metavar="ADDRESS", show_default=True, help="The address to listen on."
)
@click.option("--writable", is_flag=True, help="Take pushes; they are kept under localhost/, or --name.")
@click.option("--allow-deletes", is_flag=True, help="With --writable: what was pushed can be deleted.")
@click.option(
    "--name",
    default="localhost",
    show_default=True,
    metavar="REGISTRY",
    help="The registry under which pushes are kept in the store.",
)
@click.option("--layout", type=FILE, metavar="FOLDER", help="Serve this OCI image layout, not the store.")
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Answer to this Host too, such as host.docker.internal; repeatable.",
)
@click.option(
    "--insecure-allow-remote-writes",
    is_flag=True,
    help="Take pushes from other machines, from anybody and without encryption.",
)
def serve(
    invocation: Invocation,
    port: int,
    host: str,
    writable: bool,
    allow_deletes: bool,
    name: str,
    layout: Path | None,
    hosts: tuple[str, ...],
    insecure_allow_remote_writes: bool,
) -> None:
    """Serve local models to any OCI client, until it is stopped. Prints its address.

    Read-only, on this machine only, without passwords and TLS, unless told otherwise.

    \b
    Examples:
      mrpack registry serve
      mrpack registry serve --writable --port 0
      mrpack pull 127.0.0.1:5000/ai/smollm2:latest
    """
    if allow_deletes and not writable:
        raise UsageError("--allow-deletes needs --writable")
    rules = Rules(
        writable=writable,
        deletes=allow_deletes,
        naming=Naming(own=_registry_name(name), defaults=invocation.settings.references),
        hosts=frozenset(host.lower() for host in hosts),
    )
    with RegistryServer(
        _layout(invocation, layout, writable=writable), rules, host=host, port=port
    ) as server:
        if writable and not server.is_loopback and not insecure_allow_remote_writes:
            raise UsageError(
                f"anybody who reaches {host} could push here",
                hint="drop --writable, or add --insecure-allow-remote-writes",
            )
        _run(invocation, server)


def _registry_name(text: str) -> str:
    try:
        found = Reference.parse(f"{text}/any/name").registry
    except MrpackError:
        found = ""
    if found != text:
        raise UsageError(f"bad registry name {text!r}", hint="write localhost or registry.example.com")
    return text


def _layout(invocation: Invocation, folder: Path | None, *, writable: bool) -> OciLayout:
    if folder is not None:
        return OciLayout(folder, create=writable)
    store = invocation.workspace.store
    if writable:
        with store.operation():
            pass  # marks a new folder as a store, of this version
    return store.layout


def _run(invocation: Invocation, server: RegistryServer) -> None:
    interrupted = threading.Event()

    def stop(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            interrupted.set()
        server.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    url = f"http://{server.address}"
    invocation.result(url, {"address": server.address, "url": url})
    invocation.say("stop it with Ctrl-C")
    server.run()
    if interrupted.is_set():
        raise KeyboardInterrupt


registry.add_command(serve)

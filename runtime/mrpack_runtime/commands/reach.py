"""The gateway that a command asks: the one that runs, or a private one that ends with the command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mrpack.cli.invocation import Invocation
from mrpack.errors import NotFound, UsageError
from mrpack.readable import open_file
from mrpack_runtime.engine import Operation
from mrpack_runtime.models import sight
from mrpack_runtime.settings.merged import CommandSettings
from mrpack_runtime.wire.client import GatewayClient, NotRunning, Stranger


def find_or_pull(invocation: Invocation, model: str, *, pull: bool) -> None:
    """Here, where progress can be shown. Raises NotFound unless `pull`."""
    workspace = invocation.workspace
    try:
        workspace.store.find(model)
    except NotFound:
        if not pull:
            raise
        if Path(model).is_file():
            raise UsageError(
                f"{model} is a file, and no model of that name is here",
                hint=f"`mrpack package {model} NAME`, and then NAME",
            ) from None
        from mrpack.cli.progress import reporting  # noqa: PLC0415  # only a pull shows progress
        from mrpack.verbs import transfer  # noqa: PLC0415

        invocation.say(f"{model} is not here yet")
        with reporting(invocation, "pulling") as report:
            transfer.pull(workspace, model, report=report)


def paints(invocation: Invocation, model: str) -> bool:
    """Whether the engines that open this local model do nothing else."""
    from mrpack_runtime.engines import engines  # noqa: PLC0415

    store = invocation.workspace.store
    model_format = store.artifact(store.find(model).manifest).config.format
    fitting = [engine for engine in engines().values() if model_format in engine.formats]
    return bool(fitting) and all(engine.operations == {Operation.IMAGE_GENERATION} for engine in fitting)


def sees(invocation: Invocation, model: str) -> bool:
    """Whether this local model takes pictures."""
    store = invocation.workspace.store
    bundle = store.bundle(store.find(model).manifest)
    return sight.sees(
        bundle.artifact,
        lambda file, limit: open_file(bundle.folder / file.path, file.path).read(limit=limit),
    )


@contextmanager
def reach_gateway(
    invocation: Invocation, client: GatewayClient, model: str, backend: str | None, tuning: CommandSettings
) -> Iterator[GatewayClient]:
    """That of `client`, when it runs and means the same by `model`, unless wishes need one of our own."""
    own = backend is not None or tuning != CommandSettings()
    if not own and _serves_it(client, invocation, model):
        yield client
        return
    import logging  # noqa: PLC0415  # a running gateway keeps its own

    from mrpack_runtime.assembly import GatewayOptions  # noqa: PLC0415  # only a gateway needs a server
    from mrpack_runtime.commands.private import private_gateway  # noqa: PLC0415
    from mrpack_runtime.gateway.guard import Policy  # noqa: PLC0415
    from mrpack_runtime.runners.host import host_with_engines  # noqa: PLC0415

    if not invocation.verbose:
        # What fails there is the error of the command, which says it once.
        logging.getLogger("mrpack_runtime").setLevel(logging.ERROR)
    options: Any = GatewayOptions(policy=Policy(check_host=False), tuning=tuning, backend=backend)
    with (
        host_with_engines(invocation.settings.home, os.environ) as host,
        private_gateway(invocation.workspace, host, options) as private,
    ):
        yield private


def _serves_it(client: GatewayClient, invocation: Invocation, model: str) -> bool:
    try:
        client.version()
        found = client.model(model)
    except Stranger as error:
        invocation.say(f"{error.message}: {model} is run without it")
        return False
    except (NotRunning, NotFound):
        return False
    ours = invocation.workspace.store.find(model).manifest.digest
    return bool(found.get("mrpack", {}).get("digest") == str(ours))

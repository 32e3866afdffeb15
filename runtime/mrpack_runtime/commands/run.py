"""The command `run`: one answer, or a chat."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.errors import NotFound, UsageError
from mrpack_runtime.client import GatewayClient, NotRunning
from mrpack_runtime.commands.address import client_options
from mrpack_runtime.commands.tuning import tuning_options
from mrpack_runtime.settings import CommandSettings

_STDIN_LIMIT: Final = 16 * 1024 * 1024


@command("run")
@click.argument("model")
@click.argument("prompt", required=False)
@client_options
@tuning_options
@click.option("--system", metavar="TEXT", help="What the model is told before anything else.")
@click.option(
    "--temperature", type=click.FloatRange(0, 5), metavar="X", help="0: always the likeliest token."
)
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="The longest answer.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Same seed, same prompt, same answer.")
@click.option(
    "--pull",
    type=click.Choice(["missing", "never"]),
    default="missing",
    show_default=True,
    help="Whether MODEL is pulled when it is not here.",
)
def run(
    invocation: Invocation,
    *,
    model: str,
    prompt: str | None,
    client: GatewayClient,
    backend: str | None,
    tuning: CommandSettings,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    seed: int | None,
    pull: str,
) -> None:
    """Ask MODEL once, or chat with it when there is no PROMPT and no pipe.

    What comes in a pipe follows PROMPT. Uses the running gateway, unless options say how the model is to be
    run; else one of its own, which ends with the command.

    \b
    Examples:
      mrpack run smollm2 "Say hello"
      mrpack run smollm2 "Summarise this" < notes.txt
      mrpack run smollm2
    """
    from mrpack_runtime.commands.conversation import Conversation, answer_once, chat  # noqa: PLC0415

    question = _question(prompt)
    if question is None and invocation.json:
        raise UsageError("--json needs a PROMPT, or text in a pipe")
    _find_or_pull(invocation, model, pull=pull == "missing")
    fields = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    own = backend is not None or tuning != CommandSettings()
    with _gateway(invocation, client, model, backend, tuning, own=own) as found:
        conversation = Conversation(
            found, model, {name: value for name, value in fields.items() if value is not None}, system
        )
        if question is not None:
            answer_once(invocation, conversation, question)
        else:
            chat(invocation, conversation)


def _question(prompt: str | None) -> str | None:
    """Prompt and standard input together; None for a chat."""
    if sys.stdin is None or sys.stdin.isatty():
        return prompt
    piped = sys.stdin.read(_STDIN_LIMIT)
    if len(piped) == _STDIN_LIMIT:
        raise UsageError(f"more than {_STDIN_LIMIT} characters on standard input")
    question = "\n\n".join(text for text in (prompt, piped.strip("\n")) if text)
    if not question:
        raise UsageError("there is no prompt: standard input is empty")
    return question


def _find_or_pull(invocation: Invocation, model: str, *, pull: bool) -> None:
    """Here, where progress can be shown."""
    workspace = invocation.workspace
    try:
        workspace.store.find(model)
    except NotFound:
        if not pull:
            raise
        from mrpack.cli.progress import reporting  # noqa: PLC0415  # only a pull shows progress
        from mrpack.verbs import transfer  # noqa: PLC0415

        invocation.say(f"{model} is not here yet")
        with reporting(invocation, "pulling") as report:
            transfer.pull(workspace, model, report=report)


@contextmanager
def _gateway(
    invocation: Invocation,
    client: GatewayClient,
    model: str,
    backend: str | None,
    tuning: CommandSettings,
    *,
    own: bool,
) -> Iterator[GatewayClient]:
    if not own and _serves_it(client, invocation, model):
        yield client
        return
    from mrpack_runtime.assembly import GatewayOptions  # noqa: PLC0415  # only a gateway needs aiohttp
    from mrpack_runtime.gateway.guard import Policy  # noqa: PLC0415
    from mrpack_runtime.host import probe_host  # noqa: PLC0415
    from mrpack_runtime.private import private_gateway  # noqa: PLC0415

    options: Any = GatewayOptions(policy=Policy(check_host=False), tuning=tuning, backend=backend)
    with private_gateway(invocation.workspace, probe_host(os.environ), options) as private:
        yield private


def _serves_it(client: GatewayClient, invocation: Invocation, model: str) -> bool:
    """Whether a gateway runs that means the same by this name as we do."""
    try:
        client.version()
        found = client.model(model)
    except (NotRunning, NotFound):
        return False
    ours = invocation.workspace.store.find(model).manifest.digest
    return bool(found.get("mrpack", {}).get("digest") == str(ours))

"""The command `run`: one answer, a chat, or images."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.messages import can_redraw
from mrpack.cli.values import FILE, local_models
from mrpack.errors import UsageError
from mrpack_runtime.commands.address import client_options
from mrpack_runtime.commands.attachments import read_attachment
from mrpack_runtime.commands.painting import Painting, Place, paint, painting_options
from mrpack_runtime.commands.tuning import tuning_options

if TYPE_CHECKING:
    from mrpack_runtime.settings.merged import CommandSettings
    from mrpack_runtime.wire.client import GatewayClient

_STDIN_LIMIT: Final = 16 * 1024 * 1024


@command("run")
@click.argument("model", shell_complete=local_models)
@click.argument("prompt", required=False)
@click.option(
    "--file",
    "files",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="A text, or a picture for models that see, which goes before PROMPT; repeatable.",
)
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
@painting_options
@tuning_options
@client_options
def run(
    invocation: Invocation,
    *,
    model: str,
    prompt: str | None,
    client: GatewayClient,
    backend: str | None,
    tuning: CommandSettings,
    painting: Painting,
    files: tuple[Path, ...],
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    seed: int | None,
    pull: str,
) -> None:
    """Ask MODEL once, or chat with it when there is no PROMPT and no pipe. Image models paint PROMPT.

    What comes in a pipe follows PROMPT. In a chat, /help shows what can be typed. Uses the running gateway,
    unless options say how the model is to be run; else one of its own, which ends with the command.

    \b
    Examples:
      mrpack run smollm2 "Say hello"
      mrpack run smollm2 "Summarise this" < notes.txt
      mrpack run smollm2 --file a.md --file b.md "What differs?"
      mrpack run smollm2
      mrpack run sdxl "A red fox in the snow" --output fox.png --seed 7
    """
    from mrpack_runtime.commands.chat import Chat, check_sight  # noqa: PLC0415  # --help asks no model
    from mrpack_runtime.commands.conversation import Conversation, answer_once  # noqa: PLC0415
    from mrpack_runtime.commands.reach import find_or_pull, paints, reach_gateway, sees  # noqa: PLC0415

    question = _question(prompt)
    attached = [read_attachment(path) for path in files]
    if question is None and invocation.json:
        raise UsageError("--json needs a PROMPT, or text in a pipe")
    find_or_pull(invocation, model, pull=pull == "missing")
    is_painter = paints(invocation, model)
    talking = {"--system": system, "--temperature": temperature, "--max-tokens": max_tokens}
    _check_options(model, painting, talking | {"--file": files or None}, is_painter=is_painter)
    if is_painter:
        if question is None:
            raise UsageError(f"{model} paints images, and there is no PROMPT")
        place = Place.of(painting.output, painting.images or 1, model=model, is_json=invocation.json)
        with reach_gateway(invocation, client, model, backend, tuning) as found:
            paint(invocation, found, model, question, painting, place, seed)
        return
    see = functools.cache(lambda: sees(invocation, model))
    for attachment in attached:
        check_sight(attachment, model, see)
    fields = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    fields = {name: value for name, value in fields.items() if value is not None}
    with reach_gateway(invocation, client, model, backend, tuning) as found:
        is_watched = not invocation.quiet and can_redraw(sys.stderr)
        conversation = Conversation(found, model, fields, system, is_watched)
        if question is not None:
            answer_once(invocation, conversation, question, attached)
        else:
            Chat(invocation, conversation, see, attached).run()


def _check_options(
    model: str, painting: Painting, talking: Mapping[str, object], *, is_painter: bool
) -> None:
    """Options that have no meaning for this kind of model are refused rather than ignored."""
    if is_painter:
        wrong = next((name for name, value in talking.items() if value is not None), None)
        if wrong is not None:
            raise UsageError(f"{wrong} is for models that talk, and {model} paints images")
    elif painting != Painting():
        raise UsageError(f"{model} is no image model: --output, --size and the like have no meaning for it")


def _question(prompt: str | None) -> str | None:
    """Prompt and standard input together; None for a chat."""
    if sys.stdin is None or sys.stdin.isatty():
        return prompt
    piped = sys.stdin.read(_STDIN_LIMIT)
    if len(piped) == _STDIN_LIMIT:
        raise UsageError(f"more than {_STDIN_LIMIT} characters on standard input")
    question = "\n\n".join(text for text in (prompt, piped.strip("\n")) if text)
    if not question:
        raise UsageError(
            "there is no prompt: standard input is empty", hint="give a PROMPT, or a terminal to chat"
        )
    return question

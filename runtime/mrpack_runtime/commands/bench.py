"""The command `bench`: how fast a model answers, and how many at once."""

from __future__ import annotations

import contextlib
import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.messages import can_redraw
from mrpack.cli.table import printable, render_table
from mrpack.cli.values import FILE, local_models
from mrpack.errors import EngineFailed, UsageError, from_os_error
from mrpack_runtime.bench.chart import svg
from mrpack_runtime.bench.figures import Figures, Sample
from mrpack_runtime.bench.report import duration, lines, panels
from mrpack_runtime.commands.address import client_options
from mrpack_runtime.commands.tuning import tuning_options

if TYPE_CHECKING:
    from mrpack_runtime.bench.load import Load
    from mrpack_runtime.settings.merged import CommandSettings
    from mrpack_runtime.wire.client import GatewayClient

_CONCURRENCY_LIMIT: Final = 1024


class _Counts(click.ParamType[tuple[int, ...]]):
    name = "counts"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            counts = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            counts = ()
        if not counts or not all(1 <= count <= _CONCURRENCY_LIMIT for count in counts):
            limits = f"from 1 to {_CONCURRENCY_LIMIT}, such as 1,4,16"
            self.fail(f"{value!r} is no list of numbers {limits}", param, ctx)
        return counts


@command("bench")
@click.argument("model", required=False, shell_complete=local_models)
@click.option(
    "--concurrency",
    type=_Counts(),
    default="1,4,16",
    show_default=True,
    metavar="N,...",
    help="How many requests are under way at once; one measurement each.",
)
@click.option(
    "--requests",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Of each measurement.  [default: twice as many as at once, at least 8]",
)
@click.option(
    "--prompt-tokens",
    type=click.IntRange(1, 1_000_000),
    default=128,
    show_default=True,
    metavar="N",
    help="About the length of each prompt.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1, 1_000_000),
    default=64,
    show_default=True,
    metavar="N",
    help="The length of each answer.",
)
@click.option("--plot", type=FILE, metavar="FILE", help="Draw the figures too, as SVG.")
@client_options
@tuning_options
def bench(
    invocation: Invocation,
    *,
    model: str | None,
    concurrency: tuple[int, ...],
    requests: int | None,
    prompt_tokens: int,
    max_tokens: int,
    plot: Path | None,
    client: GatewayClient,
    backend: str | None,
    tuning: CommandSettings,
) -> None:
    """Measure how fast MODEL answers: time to the first token, tokens a second, errors.

    Without MODEL: the one that is loaded, or the only one here. The prompts are the same each time, and no
    two begin alike. Uses the running gateway, unless options say how the model is to be run; else one of its
    own, which ends with the command. Exit code 9 when a request failed.

    \b
    Examples:
      mrpack bench smollm2
      mrpack bench smollm2 --concurrency 1,8,64 --plot smollm2.svg
      mrpack bench smollm2 --parallel 16 --json
    """
    from mrpack_runtime.bench.load import Load, ask  # noqa: PLC0415  # --help asks no model
    from mrpack_runtime.commands.reach import find_or_pull, paints, reach_gateway  # noqa: PLC0415

    if plot is not None and not plot.absolute().parent.is_dir():
        raise UsageError(f"--plot {plot}: there is no folder {plot.parent}")
    name = model or _the_model(invocation, client)
    find_or_pull(invocation, name, pull=False)
    if paints(invocation, name):
        raise UsageError(f"{name} paints images, and bench measures models that talk")
    load = Load(model=name, prompt_tokens=prompt_tokens, max_tokens=max_tokens)
    with reach_gateway(invocation, client, name, backend, tuning) as found:
        invocation.say(f"loading {name}")
        warm = ask(found, {**load.body(0), "max_tokens": 2})
        if warm.error is not None:
            raise EngineFailed(warm.error)
        facts = _facts(found, load, warm)
        measured = _measure(invocation, found, load, concurrency, requests)
    if plot is not None:
        _draw(plot, facts, measured)
    invocation.result(_text(facts, measured), facts | {"runs": [figures.to_json() for figures in measured]})
    _fail_on_errors(measured)


def _the_model(invocation: Invocation, client: GatewayClient) -> str:
    """When none is named. Raises UsageError when that could be several, or none."""
    from mrpack_runtime.wire.client import NotRunning  # noqa: PLC0415  # --help speaks no HTTP

    try:
        names = {str(entry["model_name"]) for entry in client.ps() if entry.get("mode") == "completion"}
    except NotRunning:
        names = set()
    if not names:
        store = invocation.workspace.store
        names = {model.reference.familiar(store.defaults) for model in store.models()}
    if len(names) != 1:
        several = f"{len(names)} are here" if names else "there is none here yet"
        raise UsageError(f"name the MODEL: {several}", hint="`mrpack list` shows them" if names else None)
    return names.pop()


def _measure(
    invocation: Invocation,
    client: GatewayClient,
    load: Load,
    concurrency: tuple[int, ...],
    requests: int | None,
) -> list[Figures]:
    from mrpack_runtime.bench.load import drive  # noqa: PLC0415  # --help asks no model

    measured = []
    number = 1
    for count in concurrency:
        wanted = requests or max(8, 2 * count)
        with _counting(invocation, f"{count} at once", wanted) as tell:
            measured.append(
                drive(client, load, concurrency=count, requests=wanted, first_number=number, on_sample=tell)
            )
        number += wanted
    return measured


@contextlib.contextmanager
def _counting(invocation: Invocation, what: str, total: int) -> Iterator[Callable[[Sample], None]]:
    how = invocation.progress
    if invocation.quiet or how == "none":
        yield lambda _: None
    elif how == "json":
        yield lambda sample: click.echo(
            json.dumps({"event": "answered", "first_s": sample.first_s, "error": sample.error}), err=True
        )
    elif how == "auto" and can_redraw(sys.stderr):
        from rich.console import Console  # noqa: PLC0415  # 70 ms, only for a terminal
        from rich.progress import Progress  # noqa: PLC0415

        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda _: progress.advance(task)
    else:
        invocation.say(f"{what}: {total} requests")
        yield lambda _: None


def _facts(client: GatewayClient, load: Load, warm: Sample) -> dict[str, Any]:
    """What was measured, and where: a figure without them says nothing."""
    from mrpack_runtime.machine.hardware import usable_cpus  # noqa: PLC0415  # --help looks at no machine

    digest = client.model(load.model).get("mrpack", {}).get("digest")
    entry = next(
        (
            entry
            for entry in client.ps(wide=True)
            if entry.get("digest") == digest and entry.get("mode") == "completion"
        ),
        {},
    )
    named = {name: entry.get(name) for name in ("launcher", "version", "load_time_s")}
    return {
        "model": load.model,
        "digest": digest,
        "engine": entry.get("backend_name"),
        **named,
        "prompt_tokens": warm.prompt_tokens or load.prompt_tokens,
        "max_tokens": load.max_tokens,
        "machine": f"{platform.system()} {platform.machine()}, {len(usable_cpus())} processors",
    }


def _text(facts: dict[str, Any], measured: Sequence[Figures]) -> str:
    first, *others = lines(measured)
    return "\n".join([*map(printable, _heading(facts)), "", render_table(first, others)])


def _heading(facts: dict[str, Any]) -> tuple[str, str]:
    """What was measured, and how."""
    how = " ".join(str(facts[name]) for name in ("engine", "launcher", "version") if facts[name])
    loaded = f", loaded in {duration(facts['load_time_s'])}" if facts["load_time_s"] else ""
    return (
        f"{facts['model']} on {how or 'an engine'}{loaded}",
        f"{facts['prompt_tokens']} tokens in, {facts['max_tokens']} out; {facts['machine']}",
    )


def _draw(path: Path, facts: dict[str, Any], measured: Sequence[Figures]) -> None:
    try:
        path.write_text(
            svg(str(facts["model"]), panels(measured), note="; ".join(_heading(facts))), encoding="utf-8"
        )
    except OSError as error:
        raise from_os_error(error, f"write {path}") from error


def _fail_on_errors(measured: Sequence[Figures]) -> None:
    errors = {text: count for figures in measured for text, count in figures.errors.items()}
    if errors:
        failed = sum(sum(figures.errors.values()) for figures in measured)
        total = sum(len(figures.samples) for figures in measured)
        raise EngineFailed(f"{failed} of {total} requests failed: {next(iter(errors))}")

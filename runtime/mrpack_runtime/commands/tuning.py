"""How models are run: options that `serve` and `run` share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from mrpack.cli.sections import section
from mrpack.environment import SANDBOXES

_options = section(
    "How the model runs",
    click.option(
        "--backend",
        metavar="ENGINE",
        help="This engine and no other: NAME, or NAME/LAUNCHER as `ps` shows it.",
    ),
    click.option(
        "--context-size",
        type=click.IntRange(-1),
        metavar="N",
        help="Tokens that one request may fill; -1: as many as the model was trained for.",
    ),
    click.option("--threads", type=click.IntRange(1, 512), metavar="N", help="Threads of an engine."),
    click.option(
        "--parallel", type=click.IntRange(1, 256), metavar="N", help="Requests that an engine serves at once."
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Any other setting, such as sampling.top_p=0.9, over the model's own; repeatable.",
    ),
    click.option(
        "--ready-timeout",
        type=click.FloatRange(0, min_open=True),
        default=300.0,
        show_default=True,
        metavar="SECONDS",
        help="The longest time that loading a model may take.",
    ),
    click.option(
        "--sandbox",
        type=click.Choice(SANDBOXES),
        help="Confine engines as far as the kernel can, not at all, or refuse those that it cannot."
        "  [default: auto, or what config.toml says]",
    ),
)


def tuning_options(function: Callable[..., None]) -> Callable[..., None]:
    """The function gets them as `backend` and `tuning`, CommandSettings."""

    @functools.wraps(function)
    def run(
        *args: Any,
        context_size: int | None,
        threads: int | None,
        parallel: int | None,
        settings: tuple[str, ...],
        ready_timeout: float,
        sandbox: str | None,
        **rest: Any,
    ) -> None:
        from mrpack.model.overrides import Overrides, parse_setting  # noqa: PLC0415  # --help runs no model
        from mrpack_runtime.confinement import Sandbox  # noqa: PLC0415
        from mrpack_runtime.settings.merged import CommandSettings  # noqa: PLC0415

        overrides = Overrides()
        for text in settings:
            overrides = Overrides({**overrides.values, **parse_setting(text).values})
        if context_size is not None:
            overrides = Overrides({**overrides.values, "context_size": context_size})
        tuning = CommandSettings(
            overrides=overrides,
            threads=threads,
            parallel=parallel,
            ready_timeout_s=ready_timeout,
            sandbox=Sandbox(sandbox) if sandbox else None,
        )
        function(*args, tuning=tuning, **rest)

    return _options(run)

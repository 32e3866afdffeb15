"""One call of a command: its output switches, its settings, and the workspace it opens when needed."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

from mrpack.cli.messages import tell, writing_result
from mrpack.cli.sections import COMMON, SectionedCommand, section

_P = ParamSpec("_P")

if TYPE_CHECKING:
    from mrpack.environment import Settings
    from mrpack.errors import MrpackError
    from mrpack.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """Standard output carries the result and only that; everything else goes to standard error."""

    json: bool = False
    quiet: bool = False
    verbose: int = 0
    progress: str = "auto"

    def result(self, text: str, value: Any) -> None:
        """Print the result: `text` for people (nothing when empty), `value` as JSON with `--json`."""
        if self.json:
            text = json.dumps(value, indent=2, ensure_ascii=False)
        if not text:
            return
        with writing_result():
            click.echo(text)

    def say(self, text: str) -> None:
        """A message for people, on standard error; silent with `--quiet`."""
        if not self.quiet:
            tell(text)

    @property
    def settings(self) -> Settings:
        return _settings()

    @property
    def workspace(self) -> Workspace:
        from mrpack.workspace import Workspace  # noqa: PLC0415  # --help needs no store

        return Workspace(self.settings, retrying=self._retrying)

    def _retrying(self, failure: MrpackError) -> None:
        if self.progress == "json" and not self.quiet:
            tell(json.dumps({"event": "retrying", "reason": failure.message}))
        else:
            self.say(f"{failure.message}; trying again")


@functools.cache
def _settings() -> Settings:
    from mrpack.environment import load_settings  # noqa: PLC0415  # --help needs no settings

    return load_settings(os.environ)


_common_options = section(
    COMMON,
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    click.option("-q", "--quiet", is_flag=True, help="No progress and no messages."),
    click.option("-v", "--verbose", count=True, help="More messages; twice for every request."),
    click.option(
        "--progress",
        type=click.Choice(["auto", "plain", "json", "none"]),
        default="auto",
        show_default=True,
        help="How progress is shown on standard error.",
    ),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)


class _Command(SectionedCommand):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with writing_result():  # of --help
            return super().parse_args(ctx, args)


def command(
    name: str, **attributes: Any
) -> Callable[[Callable[Concatenate[Invocation, _P], None]], click.Command]:
    """`click.command` with the output options every command has; the function gets an Invocation first."""

    def decorate(function: Callable[Concatenate[Invocation, _P], None]) -> click.Command:
        @functools.wraps(function)
        def run(
            *args: Any, as_json: bool, quiet: bool, verbose: int, progress: str, debug: bool, **options: Any
        ) -> None:
            _log_to_stderr(verbose, debug=debug)
            function(
                Invocation(json=as_json, quiet=quiet, verbose=verbose, progress=progress), *args, **options
            )

        # `wraps` shares the list of the command's own options; click shows the last of a list first.
        own = list(getattr(function, "__click_params__", ()))
        run.__click_params__ = []  # type: ignore[attr-defined]
        _common_options(run)
        run.__click_params__ += own  # type: ignore[attr-defined]
        return click.command(name, cls=_Command, **attributes)(run)

    return decorate


def _log_to_stderr(verbose: int, *, debug: bool) -> None:
    """More than the warnings, which Python writes there by itself."""
    if not (verbose or debug):
        return
    import logging  # noqa: PLC0415  # 5 ms, and most commands log nothing

    level = logging.DEBUG if debug or verbose > 1 else logging.INFO
    logging.basicConfig(stream=sys.stderr, level=level, format="%(name)s: %(message)s", force=True)

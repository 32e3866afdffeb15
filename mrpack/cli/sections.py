"""Options that `--help` shows together, below a title of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

# Of the options that every command has; --help itself is one of them.
COMMON: Final = "Common"
# Of all that are in no section.
_OWN: Final = "Options"

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def section(title: str, *options: Decorator) -> Decorator:
    """All `options`, each made by `click.option`, in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            option(function)
            function.__click_params__[-1].section = title  # type: ignore[attr-defined]
        return function

    return decorate


class SectionedCommand(click.Command):
    """Shows what only it has first, and what every command has last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found: dict[str, list[tuple[str, str]]] = {_OWN: []}
        for parameter in self.params:
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)):
                found.setdefault(getattr(parameter, "section", _OWN), []).append(record)
        if (help_option := self.get_help_option(ctx)) and (record := help_option.get_help_record(ctx)):
            found.setdefault(COMMON, []).append(record)
        for title, records in found.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

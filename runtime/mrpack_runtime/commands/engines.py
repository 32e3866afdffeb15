"""The command `engines`: which engines are here, which could be, and why not."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.table import printable, render_table

if TYPE_CHECKING:
    from mrpack_runtime.runners.availability import EngineState

# Columns for the names of engines.
_NAME: Final = 12


@command("engines")
def list_engines(invocation: Invocation) -> None:
    """List engines: installed or not, from where, and what this machine allows, with the reasons.

    In the order in which they are preferred for a model that several can open.

    \b
    Examples:
      mrpack engines
      mrpack engines --json
    """
    from mrpack_runtime.engines import engines  # noqa: PLC0415
    from mrpack_runtime.runners.availability import survey  # noqa: PLC0415  # --help looks at no machine
    from mrpack_runtime.runners.host import engine_folders, host_with_engines  # noqa: PLC0415

    home = invocation.settings.home
    with host_with_engines(home, os.environ) as host:
        states = survey(engines(), host(), engine_folders(home))
    values = [state.to_json() for state in states]
    if sys.stdout.isatty() and not invocation.json:
        _paint(states)
        return
    rows = [(state.name, state.word, state.what, state.where, state.platforms) for state in states]
    invocation.result(render_table(("ENGINE", "STATE", "WHAT", "FROM", "HERE"), rows), values)


def _paint(states: list[EngineState]) -> None:
    """A paragraph for each engine, with a line for each accelerator that this system could have."""
    from rich.console import Console  # noqa: PLC0415  # 70 ms, only for a terminal
    from rich.padding import Padding  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    for state in states:
        style = "green" if state.installations else "yellow" if state.can_run else "red"
        heading = Text.assemble((f"{state.name:{_NAME}}", "bold"), (state.word, style))
        if state.what:
            heading.append(f": {printable(state.what)}")
        console.print(heading)
        if state.where:
            console.print(Padding(Text(printable(state.where), style="dim"), (0, 0, 0, _NAME)))
        for verdict in state.verdicts:
            mark, style = ("yes", "green") if verdict.possible else ("no ", "red")
            line = Text.assemble(
                (mark, style), f" {verdict.row.accelerator:8}", (printable(verdict.reason), "dim")
            )
            console.print(Padding(line, (0, 0, 0, _NAME)))

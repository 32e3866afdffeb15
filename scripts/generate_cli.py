"""Write the reference part of docs/cli.md: what `--help` says, of every command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from mrpack.cli.main import ALIASES, COMMANDS, cli
from mrpack.cli.sections import COMMON

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
BEGIN = "<!-- reference: written by scripts/generate_cli.py -->"
END = "<!-- /reference -->"
WIDTH = 100


def page_text(page: str) -> str:
    """`page` with what stands between its two marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


def reference() -> str:
    root = cli.make_context("mrpack", [], resilient_parsing=True, terminal_width=WIDTH)
    sections = dict.fromkeys(entry.section for entry in COMMANDS.values())
    parts = ["| command | does |\n|---|---|\n" + "".join(_rows())]
    for section in sections:
        parts.append(f"### {section}\n")
        for name, entry in COMMANDS.items():
            if entry.section == section:
                parts += [f"#### {path}\n\n{_block(text)}" for path, text in _helps(root, name)]
    parts.append(f"### Options that every command has\n\n{_block(_common_options(root))}")
    return "\n".join(parts)


def _rows() -> Iterator[str]:
    aliases = {name: alias for alias, name in ALIASES.items()}
    for name, entry in COMMANDS.items():
        alias = f", `{aliases[name]}`" if name in aliases else ""
        yield f"| [`{name}`](#mrpack-{name}){alias} | {entry.summary} |\n"


def _helps(parent: click.Context, name: str) -> Iterator[tuple[str, str]]:
    """A command and, of a group, all below it: how it is called, and its help without the common options."""
    assert isinstance(parent.command, click.Group)
    command = parent.command.get_command(parent, name)
    assert command is not None, name
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH)
    text, _ = _split(command.get_help(context))
    yield context.command_path, text
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            yield from _helps(context, below)


def _common_options(root: click.Context) -> str:
    """Of a command that has no others."""
    command = cli.get_command(root, "version")
    assert command is not None
    context = click.Context(command, info_name="version", parent=root, terminal_width=WIDTH)
    _, options = _split(command.get_help(context))
    return options


def _split(text: str) -> tuple[str, str]:
    """What comes before the section that every command has, and its options."""
    before, _, common = text.partition(f"\n{COMMON}:\n")
    return before, common


def _block(text: str) -> str:
    return f"```text\n{text.strip(chr(10))}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page_text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

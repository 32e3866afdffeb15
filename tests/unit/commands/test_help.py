"""What `--help` shows of the options of each command, section by section."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from mrpack.cli.main import COMMANDS, cli
from mrpack.cli.sections import SectionedCommand

_TITLE = re.compile(r"^(?=\S)(?!Usage)(.+):$", re.MULTILINE)


def _below(parent: click.Context, name: str) -> Iterator[tuple[click.Command, click.Context]]:
    assert isinstance(parent.command, click.Group)
    command = parent.command.get_command(parent, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100)
    if isinstance(command, click.Group):
        for further in command.list_commands(context):
            yield from _below(context, further)
    else:
        yield command, context


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_shown_once_and_those_of_all_commands_last(name: str) -> None:
    root = cli.make_context("mrpack", [name], resilient_parsing=True)
    for command, context in _below(root, name):
        assert isinstance(command, SectionedCommand)
        shown = command.get_help(context)
        for option in command.get_params(context):
            if isinstance(option, click.Option):
                begin = re.escape(", ".join(option.opts))
                assert len(re.findall(rf"^  {begin}(?= |$)", shown, re.MULTILINE)) == 1, begin
        titles = _TITLE.findall(shown)
        assert titles[-1] == "Common"
        assert len(titles) == len(set(titles))

from __future__ import annotations

import ast
from pathlib import Path

import mrpack
from mrpack.cli.main import COMMANDS, cli


def test_the_public_list_is_what_can_be_imported() -> None:
    assert mrpack.__all__ == sorted(mrpack.__all__)
    assert {*mrpack._PUBLIC, "__version__"} == set(mrpack.__all__)
    for name in mrpack.__all__:
        assert getattr(mrpack, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(mrpack.__file__).read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (alias.asname or alias.name): f"{node.module}:{alias.name}"
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    wanted = {
        name: target if ":" in target else f"{target}:{name}" for name, target in mrpack._PUBLIC.items()
    }
    assert seen == wanted


def test_every_command_of_the_help_exists_and_is_summed_up_as_it_says_itself() -> None:
    context = cli.make_context("mrpack", ["list"], resilient_parsing=True)
    for name, entry in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None, name
        assert command.name == name
        assert command.help is not None
        assert "mrpack " + name in command.help, f"{name}: no example"
        assert entry.summary.endswith(".")

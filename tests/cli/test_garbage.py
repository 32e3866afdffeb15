"""How often commands collect garbage: seldom where they are brief, as Python does where buffers are in it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import click
import pytest

from mrpack.cli.main import COMMANDS, cli

SELDOM = 12_345


@pytest.fixture(autouse=True)
def threshold() -> Iterator[None]:
    usual = gc.get_threshold()
    gc.set_threshold(SELDOM)
    yield
    gc.set_threshold(*usual)


@pytest.mark.parametrize("name", ["pull", "push", "copy", "package", "serve", "run"])
def test_what_moves_bytes_collects_as_python_does(name: str) -> None:
    assert cli.get_command(click.Context(cli), name) is not None
    assert gc.get_threshold()[0] < SELDOM


@pytest.mark.parametrize("name", [name for name, entry in COMMANDS.items() if entry.section == "Local store"])
def test_what_looks_at_the_store_collects_seldom(name: str) -> None:
    assert cli.get_command(click.Context(cli), name) is not None
    assert gc.get_threshold()[0] == SELDOM

"""Progress on terminals: wide, narrow, and those that cannot draw; Ctrl-C there."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from tests.fakes.raw_server import RawServer
from tests.program import Mrpack
from tests.terminal import at_terminal, drawn_lines
from tests.waiting import DEADLINE_S


@pytest.fixture
def remote(mrpack: Mrpack, tiny_model: Path, registry: str) -> str:
    """A model that is only in a registry."""
    name = f"{registry}/team/tiny:v1"
    mrpack("package", tiny_model, name, "--push", "-q")
    return name


@pytest.mark.parametrize(("columns", "shown"), [(120, "transferred"), (80, "transferred"), (40, "100 %")])
def test_bars_fit_the_terminal(mrpack: Mrpack, remote: str, columns: int, shown: str) -> None:
    with at_terminal(mrpack, "pull", remote, columns=columns, TERM="xterm") as typist:
        text = typist.read_to_the_end()
        assert typist.process.wait(DEADLINE_S) == 0
    lines = drawn_lines(text)
    bars = [line for line in lines if line.startswith("pulling")]
    assert any(shown in line for line in bars), lines
    assert max(map(len, bars)) <= columns
    assert "\x1b[?25h" in text  # the cursor is there again


@pytest.mark.parametrize(("columns", "shown"), [(120, "ARCHITECTURE"), (80, "QUANTIZATION"), (40, "SIZE")])
def test_a_list_leaves_columns_out_on_a_narrow_terminal(
    mrpack: Mrpack, tiny_model: Path, columns: int, shown: str
) -> None:
    mrpack("package", tiny_model, "registry.example.com/team/tiny:v1")
    with at_terminal(mrpack, "list", columns=columns) as typist:
        header, row, *_ = drawn_lines(typist.read_to_the_end())
    assert shown in header
    assert row.startswith("registry.example.com/team/tiny:v1")
    assert len(row) <= max(columns, 80)
    assert ("CONTEXT" in header) == (columns == 120)
    assert "ARCHITECTURE" in mrpack("list").out


def test_long_texts_of_a_table_go_on_below_on_a_narrow_terminal(mrpack: Mrpack) -> None:
    with at_terminal(mrpack, "configure", "keys", "flash", columns=64) as typist:
        lines = drawn_lines(typist.read_to_the_end().rstrip())
    with at_terminal(mrpack, "inspect", "--quantizations", columns=64) as typist:
        lines += drawn_lines(typist.read_to_the_end().rstrip())
    assert max(map(len, lines)) <= 64
    assert len(mrpack("configure", "keys", "flash").out.splitlines()) == 2


def test_a_terminal_that_cannot_draw_gets_lines(mrpack: Mrpack, remote: str) -> None:
    with at_terminal(mrpack, "pull", remote, TERM="dumb") as typist:
        text = typist.read_to_the_end()
    assert "\x1b" not in text
    assert sum(line.startswith("pulling") for line in drawn_lines(text)) == 2


def test_an_interruption_on_a_terminal_has_a_line_of_its_own(mrpack: Mrpack) -> None:
    asked, over = threading.Event(), threading.Event()

    def never_answer(_connection: object) -> None:
        asked.set()
        over.wait(DEADLINE_S)

    with (
        RawServer(never_answer) as registry,
        at_terminal(mrpack, "pull", f"{registry.address}/team/m:v1", TERM="xterm") as typist,
    ):
        assert asked.wait(DEADLINE_S)
        typist.process.send_signal(signal.SIGINT)
        text = typist.read_to_the_end()
        assert typist.process.wait(DEADLINE_S) == 130
        over.set()
    assert drawn_lines(text)[-2:] == ["mrpack: interrupted", ""]

"""Tables keep their columns, and no cell writes to the terminal what it likes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.cli.table import render_table

CELLS = st.text(st.characters(codec="utf-8"), max_size=12)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert render_table(("A", "LONG", "C"), [("", "x", "{0}"), ("wide", "", "%s")]) == (
        "A     LONG  C\n      x     {0}\nwide        %s"
    )


def test_without_rows_there_is_nothing() -> None:
    assert render_table(("A", "B"), []) == ""


def test_a_row_of_another_length_is_a_bug() -> None:
    with pytest.raises(ValueError, match="argument"):
        render_table(("A", "B"), [("only one",)])


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1))
def test_every_row_is_one_printable_line(rows: list[tuple[str, str]]) -> None:
    lines = render_table(("A", "B"), rows).split("\n")
    assert len(lines) == 1 + len(rows)
    assert all(line.isprintable() for line in lines)

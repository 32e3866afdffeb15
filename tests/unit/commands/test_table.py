"""Tables keep their columns, and no cell writes to the terminal what it likes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.cli.table import narrowed, render_table

CELLS = st.text(st.characters(codec="utf-8"), max_size=12)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert render_table(("A", "LONG", "C"), [("", "x", "{0}"), ("wide", "", "%s")]) == (
        "A     LONG  C\n      x     {0}\nwide        %s"
    )


def test_without_rows_there_is_nothing() -> None:
    assert render_table(("A", "B"), []) == ""


@pytest.mark.parametrize(
    ("width", "kept"),
    [(None, "ABCD"), (21, "ABCD"), (20, "ABC"), (17, "ABC"), (16, "AB"), (12, "AB"), (11, "A"), (1, "A")],
)
def test_columns_that_can_be_spared_go_one_by_one(width: int | None, kept: str) -> None:
    header, rows = narrowed("ABCD", [("long name", "b", "123", "d1")], width, "DCB")
    assert "".join(header) == kept
    assert [len(row) for row in rows] == [len(kept)]


def test_a_row_of_another_length_is_a_bug() -> None:
    with pytest.raises(ValueError, match="argument"):
        render_table(("A", "B"), [("only one",)])


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1))
def test_every_row_is_one_printable_line(rows: list[tuple[str, str]]) -> None:
    lines = render_table(("A", "B"), rows).split("\n")
    assert len(lines) == 1 + len(rows)
    assert all(line.isprintable() for line in lines)

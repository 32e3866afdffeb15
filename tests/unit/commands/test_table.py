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


def test_texts_that_do_not_fit_go_on_below() -> None:
    rows = [("key", "some words of it", "short"), ("k2", "few", "")]
    assert render_table(("KEY", "MEANING", "TAKES"), rows, 21) == (
        "KEY  MEANING   TAKES\nkey  some      short\n     words of\n     it\nk2   few"
    )


@given(st.lists(st.tuples(CELLS, CELLS, st.text(" ab", max_size=40)), min_size=1), st.integers(1, 60))
def test_folded_rows_keep_their_words_and_the_width_where_words_allow_it(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    header = ("A", "B", "C")
    lines = render_table(header, rows, width).split("\n")
    words = [word for line in render_table(header, rows).split("\n") for word in line.split()]
    assert sorted(word for line in lines for word in line.split()) == sorted(words)
    shortest = render_table(header, rows, 1).split("\n")
    assert max(map(len, lines)) <= max(width, *map(len, shortest))

"""Plain tables for people: left-aligned columns, no borders, escape-safe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest


def printable(text: str) -> str:
    """Foreign text without control and direction characters, which could rewrite the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Empty without rows. What is too long for `width` characters (None: any) goes on below."""
    if not rows:
        return ""
    cells = [header, *map(_printable_row, rows)]
    if width is not None:
        cells = _folded(cells, width)
    sizes = [max(map(len, column)) for column in zip(*cells, strict=True)]
    line = "  ".join(f"{{:<{size}}}" for size in sizes)
    return "\n".join(line.format(*row).rstrip() for row in cells)


def narrowed(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, spare: Sequence[str]
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """What fits into `width` characters (None: any), without columns of `spare`, those named first first."""
    if width is None:
        return header, rows
    with_space = (max(map(len, column)) + 2 for column in zip(header, *rows, strict=True))
    widths = dict(zip(header, with_space, strict=True))
    for name in spare:
        if sum(widths.values()) - 2 <= width:
            break
        del widths[name]
    kept = [place for place, name in enumerate(header) if name in widths]
    return [header[place] for place in kept], [[row[place] for place in kept] for row in rows]


def _folded(rows: Sequence[Sequence[str]], width: int) -> list[Sequence[str]]:
    """The widest columns become as narrow as it takes, and none narrower than its longest word."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    least = [max(map(len, " ".join(column).split(" "))) for column in columns]
    while sum(widths) + 2 * (len(widths) - 1) > width:
        foldable = [place for place, _ in enumerate(columns) if widths[place] > least[place]]
        if not foldable:
            break
        widths[max(foldable, key=widths.__getitem__)] -= 1
    return [line for row in rows for line in _lines(row, widths)]


def _lines(row: Sequence[str], widths: Sequence[int]) -> Iterator[Sequence[str]]:
    if all(len(cell) <= width for cell, width in zip(row, widths, strict=True)):
        return iter([row])
    from textwrap import wrap  # noqa: PLC0415  # a terminal is seldom too narrow

    cells = [wrap(cell, width, break_on_hyphens=False) for cell, width in zip(row, widths, strict=True)]
    return zip_longest(*cells, fillvalue="")


def _printable_row(row: Sequence[str]) -> Sequence[str]:
    """Looked at as a whole first: there may be ten thousand."""
    return row if "".join(row).isprintable() else [*map(printable, row)]

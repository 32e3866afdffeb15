"""Plain tables for people: left-aligned columns, no borders, escape-safe."""

from __future__ import annotations

from collections.abc import Sequence


def printable(text: str) -> str:
    """Foreign text without control and direction characters, which could rewrite the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Empty without rows."""
    if not rows:
        return ""
    cells = [header, *map(_printable_row, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    line = "  ".join(f"{{:<{width}}}" for width in widths)
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


def _printable_row(row: Sequence[str]) -> Sequence[str]:
    """Looked at as a whole first: there may be ten thousand."""
    return row if "".join(row).isprintable() else [*map(printable, row)]

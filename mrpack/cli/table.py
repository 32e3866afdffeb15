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


def _printable_row(row: Sequence[str]) -> Sequence[str]:
    """Looked at as a whole first: there may be ten thousand."""
    return row if "".join(row).isprintable() else [*map(printable, row)]

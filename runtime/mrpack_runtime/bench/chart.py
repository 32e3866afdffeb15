"""Line charts as SVG text: a few small panels beside each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH: Final = 380
_HEIGHT: Final = 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 64, 46
# Told apart by readers with any colour vision (Okabe and Ito, 2008).
_COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_TICKS: Final = 4
# Far below any figure, and far above where floating point loses its digits.
_LEAST: Final = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Values by place on the x-axis; places are evenly apart. None: no value. The y-axis begins at 0."""

    title: str
    x_label: str
    places: Sequence[str]
    lines: Mapping[str, Sequence[float | None]]


def svg(title: str, panels: Sequence[Panel], note: str = "") -> str:
    """A whole document, in which a name has one colour. `note` stands below, in small letters."""
    names = dict.fromkeys(name for panel in panels for name in panel.lines)
    colours = dict(zip(names, itertools.cycle(_COLOURS), strict=False))
    width, height = _WIDTH * len(panels), _HEIGHT + 34 + (20 if note else 0)
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="16" y="24" font-size="16" font-weight="bold">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        parts.append(f'<g transform="translate({number * _WIDTH} 30)">')
        parts += _panel(panel, colours)
        parts.append("</g>")
    if note:
        parts.append(f'<text x="16" y="{height - 10}" font-size="10" fill="#555">{escape(note)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel, colours: Mapping[str, str]) -> list[str]:
    top = nice_top(max((value for line in panel.lines.values() for value in line if value), default=1.0))
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x(index: int) -> float:
        inner = right - _LEFT
        return _LEFT + inner * (index + 0.5) / max(1, len(panel.places))

    def y(value: float) -> float:
        return bottom - (bottom - _TOP) * value / top

    parts = [f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(panel.title)}</text>']
    for tick in range(_TICKS + 1):
        value = top * tick / _TICKS
        parts.append(
            f'<line x1="{_LEFT}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,g}</text>'
        )
    for index, place in enumerate(panel.places):
        parts.append(
            f'<text x="{x(index):.1f}" y="{bottom + 18}" text-anchor="middle">{escape(place)}</text>'
        )
    middle = (_LEFT + right) / 2
    parts.append(
        f'<text x="{middle:.1f}" y="{bottom + 36}" text-anchor="middle">{escape(panel.x_label)}</text>'
    )
    offset = float(_LEFT)
    for name, values in panel.lines.items():
        colour = colours[name]
        points = [(x(index), y(value)) for index, value in enumerate(values) if value is not None]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in points]
        parts.append(
            f'<rect x="{offset:.0f}" y="30" width="10" height="10" fill="{colour}"/>'
            f'<text x="{offset + 14:.0f}" y="39">{escape(name)}</text>'
        )
        offset += 30 + 6.5 * len(name)
    return parts


def nice_top(largest: float) -> float:
    """The end of an axis: 1, 2, 4, 5, 8 or 10 times a power of ten, at or above `largest`; 1 for none."""
    if largest < _LEAST:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return next(step * power for step in (1, 2, 4, 5, 8, 10, 20) if step * power >= largest)

"""Figures for people: the lines of a table, and panels of a chart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from mrpack_runtime.bench.chart import Panel
from mrpack_runtime.bench.figures import Figures, Spread

# What a line of the table is called, and says of one measurement.
_LINES: Final[dict[str, Callable[[Figures], str]]] = {
    "at once": lambda figures: str(figures.concurrency),
    "requests": lambda figures: str(len(figures.samples)),
    "errors": lambda figures: str(sum(figures.errors.values())),
    "first token": lambda figures: _p50(figures.first_s),
    "first token, p95": lambda figures: _p95(figures.first_s),
    "next tokens": lambda figures: _p50(figures.token_s),
    "next tokens, p95": lambda figures: _p95(figures.token_s),
    "whole answer": lambda figures: _p50(figures.total_s),
    "whole answer, p95": lambda figures: _p95(figures.total_s),
    "tokens/s each": lambda figures: _rate(figures.request_tokens_per_s),
    "tokens/s all": lambda figures: _rate(figures.tokens_per_s),
}


def lines(measured: Sequence[Figures]) -> list[tuple[str, ...]]:
    """Names first, and a column for each measurement: the usual three fit into half a terminal."""
    return [(name, *map(said, measured)) for name, said in _LINES.items()]


def _p50(spread: Spread | None) -> str:
    return "" if spread is None else duration(spread.p50)


def _p95(spread: Spread | None) -> str:
    return "" if spread is None else duration(spread.p95)


def _rate(tokens_per_s: float | None) -> str:
    return "" if tokens_per_s is None else f"{tokens_per_s:.1f}"


def duration(seconds: float) -> str:
    """Three digits, such as `8.53 ms` or `12.3 s`."""
    value, unit = (seconds, "s") if seconds >= 1 else (seconds * 1000, "ms")
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {unit}"


def panels(measured: Sequence[Figures]) -> list[Panel]:
    places = [str(figures.concurrency) for figures in measured]
    return [
        Panel(
            title="Tokens a second",
            x_label="requests at once",
            places=places,
            lines={
                "all": [figures.tokens_per_s for figures in measured],
                "each request": [figures.request_tokens_per_s for figures in measured],
            },
        ),
        Panel(
            title="Time to the first token, ms",
            x_label="requests at once",
            places=places,
            lines=_in_ms([figures.first_s for figures in measured]),
        ),
        Panel(
            title="Time for each next token, ms",
            x_label="requests at once",
            places=places,
            lines=_in_ms([figures.token_s for figures in measured]),
        ),
    ]


def _in_ms(spreads: Sequence[Spread | None]) -> dict[str, list[float | None]]:
    return {
        "p50": [None if spread is None else spread.p50 * 1000 for spread in spreads],
        "p95": [None if spread is None else spread.p95 * 1000 for spread in spreads],
    }

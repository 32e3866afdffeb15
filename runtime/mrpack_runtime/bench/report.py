"""Figures for people: the rows of a table, and panels of a chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mrpack_runtime.bench.chart import Panel
from mrpack_runtime.bench.figures import Figures, Spread

HEADER: Final = (
    *("AT ONCE", "REQUESTS", "FIRST TOKEN", "p95", "NEXT TOKENS", "p95", "WHOLE ANSWER", "p95"),
    *("TOKENS/S EACH", "ALL", "ERRORS"),
)


def rows(measured: Sequence[Figures]) -> list[tuple[str, ...]]:
    return [
        (
            str(figures.concurrency),
            str(len(figures.samples)),
            *_spread(figures.first_s),
            *_spread(figures.token_s),
            *_spread(figures.total_s),
            "" if figures.request_tokens_per_s is None else f"{figures.request_tokens_per_s:.1f}",
            f"{figures.tokens_per_s:.1f}",
            str(sum(figures.errors.values())),
        )
        for figures in measured
    ]


def _spread(spread: Spread | None) -> tuple[str, str]:
    return ("", "") if spread is None else (duration(spread.p50), duration(spread.p95))


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

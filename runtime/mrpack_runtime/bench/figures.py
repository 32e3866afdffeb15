"""Figures of a load on a model: what one request took, and what many say together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request. Times in seconds since it was sent; `first_s`: the first word of the answer."""

    first_s: float = 0.0
    total_s: float = 0.0
    prompt_tokens: int = 0
    tokens: int = 0
    error: str | None = None

    @property
    def token_s(self) -> float | None:
        """Between one token of the answer and the next; None for answers of one."""
        if self.tokens < 2:
            return None
        return (self.total_s - self.first_s) / (self.tokens - 1)


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some values, and what only one in twenty exceeds."""

    p50: float
    p95: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None of no values."""
        ordered = sorted(values)
        return cls(_rank(ordered, 0.50), _rank(ordered, 0.95)) if ordered else None

    def to_json(self) -> dict[str, float]:
        return {"p50": round(self.p50, 6), "p95": round(self.p95, 6)}


def _rank(ordered: Sequence[float], share: float) -> float:
    """Nearest rank: a value that was measured, not one between two."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one concurrency. `wall_s`: from the first request sent to the last answer; the rest as Sample."""

    concurrency: int
    wall_s: float
    samples: tuple[Sample, ...]

    @property
    def answered(self) -> tuple[Sample, ...]:
        return tuple(sample for sample in self.samples if sample.error is None)

    @property
    def errors(self) -> dict[str, int]:
        """How often each came, the most frequent first."""
        return dict(Counter(sample.error for sample in self.samples if sample.error).most_common())

    @property
    def first_s(self) -> Spread | None:
        return Spread.of([sample.first_s for sample in self.answered if sample.tokens])

    @property
    def token_s(self) -> Spread | None:
        return Spread.of([sample.token_s for sample in self.answered if sample.token_s is not None])

    @property
    def total_s(self) -> Spread | None:
        return Spread.of([sample.total_s for sample in self.answered])

    @property
    def tokens_per_s(self) -> float:
        """Of all answers together."""
        return sum(sample.tokens for sample in self.answered) / self.wall_s if self.wall_s else 0.0

    @property
    def prompt_tokens_per_s(self) -> float:
        return sum(sample.prompt_tokens for sample in self.answered) / self.wall_s if self.wall_s else 0.0

    @property
    def request_tokens_per_s(self) -> float | None:
        """Of the median request, after its first token."""
        return 1 / self.token_s.p50 if self.token_s and self.token_s.p50 else None

    def to_json(self) -> dict[str, Any]:
        spreads = {
            "time_to_first_token_s": self.first_s,
            "time_per_token_s": self.token_s,
            "request_s": self.total_s,
        }
        rate = self.request_tokens_per_s
        return {
            "concurrency": self.concurrency,
            "requests": len(self.samples),
            "errors": self.errors,
            "wall_s": round(self.wall_s, 6),
            **{name: spread.to_json() if spread else None for name, spread in spreads.items()},
            "tokens_per_s": round(self.tokens_per_s, 3),
            "tokens_per_s_per_request": round(rate, 3) if rate else None,
            "prompt_tokens_per_s": round(self.prompt_tokens_per_s, 3),
            "prompt_tokens": sum(sample.prompt_tokens for sample in self.answered),
            "completion_tokens": sum(sample.tokens for sample in self.answered),
        }

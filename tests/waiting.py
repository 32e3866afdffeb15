"""Waiting in tests for what another thread or process does: looked for again and again, up to a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# What takes a moment has come true by then on any machine; else it stands still.
DEADLINE_S = 60.0


def until(holds: Callable[[], Any], what: str = "it", *, limit_s: float = DEADLINE_S) -> None:
    """`what` names the condition when the time is over."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come about in {limit_s:g} s"
        time.sleep(0.01)

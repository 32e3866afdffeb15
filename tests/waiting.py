"""Waiting in tests for what another thread or process does: looked for again and again, up to a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def until(holds: Callable[[], Any], what: str = "it", *, limit_s: float = 60) -> None:
    """`what` names the condition when the time is over."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come about in {limit_s:g} s"
        time.sleep(0.01)

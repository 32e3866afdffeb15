"""The fastest event loop there is: uvloop's, where that is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

try:
    import uvloop
except ImportError:
    _run = asyncio.run
else:
    _run = uvloop.run


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return _run(work)

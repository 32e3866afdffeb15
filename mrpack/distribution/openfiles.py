"""How the files that a process may open are shared out: to connections, uploads, and what the store needs."""

from __future__ import annotations

import resource


def at_most(count: int, *, share: float) -> int:
    """`count`, or less where that would take more than `share` of the files this process may open."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return count if allowed == resource.RLIM_INFINITY else min(count, int(allowed * share))

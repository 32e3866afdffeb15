"""Which engines could run here, in words that `status` and Docker Model Runner's clients understand."""

from __future__ import annotations

from collections.abc import Mapping

from mrpack_runtime.engine import Engine
from mrpack_runtime.host import HostFacts


def availability(engines: Mapping[str, Engine], host: HostFacts) -> dict[str, str]:
    """By name: `Available: LAUNCHER VERSION` or `Not Installed: HOW TO`. Looks at the disk."""
    words = {}
    for name, engine in engines.items():
        found = engine.installations(host)
        words[name] = (
            f"Available: {found[0].launcher} {found[0].version}"
            if found
            else f"Not Installed: {engine.install_hint}"
        )
    return words

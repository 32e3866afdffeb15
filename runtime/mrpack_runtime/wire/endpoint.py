"""Where an engine or a gateway listens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Docker Model Runner's.
DEFAULT_PORT: Final = 12434


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """A socket in a folder that only we can enter."""

    path: Path


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """A port, by itself one on loopback."""

    port: int
    host: str = "127.0.0.1"


Endpoint = UnixEndpoint | TcpEndpoint

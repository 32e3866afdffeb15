"""Engines that are started through a small program of ours, run by the engine's own Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mrpack_runtime.engine import Launch, LaunchRequest
from mrpack_runtime.wire.endpoint import UnixEndpoint


def child_launch(engine: str, request: LaunchRequest, program: Path, told: Any) -> Launch:
    """The program imports nothing of ours, gets `told` as its argument, and listens on `request.socket`."""
    installation = request.installation
    return Launch(
        engine=engine,
        launcher=installation.launcher,
        version=installation.version,
        argv=(installation.where, "-I", str(program), json.dumps(told)),
        environment={},
        endpoint=UnixEndpoint(request.socket),
        why=f"{installation.launcher} in {installation.where}",
    )

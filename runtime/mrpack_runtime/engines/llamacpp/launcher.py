"""What a launcher is: one way to start llama.cpp's HTTP server."""

from __future__ import annotations

from typing import Any, Protocol

from mrpack.errors import Unsupported
from mrpack_runtime.engine import Installation, Launch, LaunchRequest
from mrpack_runtime.engines.llamacpp.plan import Plan
from mrpack_runtime.engines.llamacpp.settings import BY_NAME, Option
from mrpack_runtime.machine.host import HostFacts

ENGINE_NAME = "llama.cpp"


class Launcher(Protocol):
    name: str

    def find(self, host: HostFacts) -> Installation | None:
        """What is installed; looks at files and package metadata, and may ask a program for its version."""
        ...

    def launch(self, request: LaunchRequest, plan: Plan) -> Launch:
        """Raises Unsupported for what this launcher does not have."""
        ...


def spelled(plan: Plan, spelling: str) -> list[tuple[Option, Any]]:
    """The settings of `plan` that a launcher can say; `spelling` is the field of Option that it speaks.

    Raises:
        Unsupported: it cannot say one that somebody asked for.
    """
    found = []
    for name, value in plan.own.items():
        option = BY_NAME[name]
        if getattr(option, spelling):
            found.append((option, value))
        elif name in plan.asked:
            raise Unsupported(
                f"llamacpp.{name} is not available with this installation of llama.cpp",
                hint="`mrpack status` lists what is installed",
            )
    return found

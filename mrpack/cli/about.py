"""The command `version`."""

from __future__ import annotations

import platform

from mrpack.cli.invocation import Invocation, command
from mrpack.version import VERSION


@command("version")
def version(invocation: Invocation) -> None:
    """Show the version of mrpack and of Python.

    \b
    Example:
      mrpack version --json
    """
    invocation.result(
        f"mrpack {VERSION}",
        {"version": VERSION, "python": platform.python_version(), "platform": platform.platform()},
    )

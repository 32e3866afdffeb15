"""`version` and `completion`."""

from __future__ import annotations

import platform

import click
from click.shell_completion import get_completion_class

from mrpack.cli.invocation import Invocation, command
from mrpack.errors import Unsupported
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


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(invocation: Invocation, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    Example:
      mrpack completion bash > ~/.local/share/bash-completion/completions/mrpack
    """
    from mrpack.cli.main import cli  # noqa: PLC0415  # main imports no command

    kind = get_completion_class(shell)
    if kind is None:
        raise Unsupported(f"no completion for {shell}")
    script = kind(cli, {}, "mrpack", "_MRPACK_COMPLETE").source()
    invocation.result(script, {"shell": shell, "script": script})

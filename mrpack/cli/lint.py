"""The command `lint`."""

from __future__ import annotations

import click

from mrpack.cli import options
from mrpack.cli.invocation import Invocation, command
from mrpack.cli.table import printable
from mrpack.cli.values import models_or_files
from mrpack.errors import InvalidArtifact
from mrpack.verbs import lint as verbs
from mrpack.workspace import Access


@command("lint")
@click.argument("target", metavar="MODEL|PATH", shell_complete=models_or_files)
@click.option("--remote", is_flag=True, help="Read MODEL from its registry; no weights are fetched.")
@options.registry_options
def lint(invocation: Invocation, target: str, remote: bool, access: Access) -> None:
    """Check an artifact against the schemas and the writer's rules, or files against what `package` wants.

    Each finding is a line that names document, key and rule. Exit code 7 when there are any.

    \b
    Examples:
      mrpack lint smollm2
      mrpack lint ./Qwen2-0.5B
      mrpack lint --remote registry.example.com/team/smollm2:135M-Q4_1 --json
    """
    linted = verbs.lint(invocation.workspace, target, remote=remote, access=access)
    lines = [printable(str(finding)) for finding in linted.findings]
    invocation.result("\n".join(lines), linted.to_json())
    if linted.findings:
        count = len(linted.findings)
        raise InvalidArtifact(f"{linted.name}: {count} finding{'s' if count > 1 else ''}")
    invocation.say(f"{linted.name}: nothing found")

"""Commands that move content: `push`, `pull`, `copy`."""

from __future__ import annotations

import click

from mrpack.cli import options
from mrpack.cli.invocation import Invocation, command
from mrpack.cli.progress import reporting
from mrpack.verbs import transfer as verbs
from mrpack.workspace import Access


def _done(invocation: Invocation, moved: verbs.Moved) -> None:
    invocation.result(
        str(moved.digest), {"reference": moved.name, "digest": str(moved.digest), "size": moved.size}
    )


@command("push")
@click.argument("model")
@click.argument("destination", required=False)
@options.jobs
@options.registry_options
def push(
    invocation: Invocation,
    model: str,
    destination: str | None,
    jobs: int | None,
    access: Access,
) -> None:
    """Push the local MODEL to its registry, or under the name DESTINATION. Prints the digest.

    \b
    Examples:
      mrpack push registry.example.com/team/smollm2:135M-Q4_1
      mrpack push smollm2 registry.example.com/team/smollm2:latest
    """
    with reporting(invocation, "pushing") as report:
        moved = verbs.push(invocation.workspace, model, destination, access=access, jobs=jobs, report=report)
    _done(invocation, moved)


@command("pull")
@click.argument("reference")
@options.jobs
@options.registry_options
def pull(
    invocation: Invocation,
    reference: str,
    jobs: int | None,
    access: Access,
) -> None:
    """Pull REFERENCE into the local store, verified. Goes on where a broken pull stopped. Prints the digest.

    \b
    Examples:
      mrpack pull registry.example.com/team/smollm2:135M-Q4_1
      mrpack pull smollm2@sha256:0123…   (exactly this content)
      mrpack pull hf.co/unsloth/SmolLM2-135M-Instruct-GGUF:Q4_K_M
    """
    with reporting(invocation, "pulling") as report:
        moved = verbs.pull(invocation.workspace, reference, access=access, jobs=jobs, report=report)
    _done(invocation, moved)


@command("copy")
@click.argument("source")
@click.argument("destination")
@click.option("--format", "dialect", type=click.Choice(["docker", "cncf"]), help="Write it in this dialect.")
@options.jobs
@options.registry_options
def copy(
    invocation: Invocation,
    source: str,
    destination: str,
    dialect: str | None,
    jobs: int | None,
    access: Access,
) -> None:
    """Copy SOURCE to DESTINATION, each a registry reference or `oci:FOLDER[:TAG]`. Prints the digest.

    Nothing passes through the local store. With --format, config and manifest are written anew over the same
    layers.

    \b
    Examples:
      mrpack copy registry.example.com/team/smollm2:v1 mirror.example.com/team/smollm2:v1
      mrpack copy registry.example.com/team/smollm2:v1 oci:./layout:v1
    """
    with reporting(invocation, "copying") as report:
        moved = verbs.copy(
            invocation.workspace,
            source,
            destination,
            dialect=dialect,
            access=access,
            jobs=jobs,
            report=report,
        )
    _done(invocation, moved)

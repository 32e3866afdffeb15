"""Commands that move content: `push`, `pull`, `copy`."""

from __future__ import annotations

from pathlib import Path

import click

from mrpack.cli import options
from mrpack.cli.invocation import Invocation, command
from mrpack.cli.progress import reporting
from mrpack.cli.values import FILE, local_models
from mrpack.errors import UsageError
from mrpack.verbs import transfer as verbs
from mrpack.workspace import Access


def _done(invocation: Invocation, moved: verbs.Moved) -> None:
    for note in moved.notes:
        invocation.say(note)
    invocation.result(
        str(moved.digest), {"reference": moved.name, "digest": str(moved.digest), "size": moved.size}
    )


@command("push")
@click.argument("model", shell_complete=local_models)
@click.argument("destination", required=False)
@options.jobs
@options.referrers
@options.transfer_options
def push(
    invocation: Invocation,
    model: str,
    destination: str | None,
    jobs: int | None,
    referrers: bool,
    access: Access,
) -> None:
    """Push the local MODEL to its registry, or under the name DESTINATION. Prints the digest.

    \b
    Examples:
      mrpack push registry.example.com/team/smollm2:135M-Q4_1
      mrpack push smollm2 registry.example.com/team/smollm2:latest
    """
    with reporting(invocation, "pushing") as report:
        moved = verbs.push(
            invocation.workspace,
            model,
            destination,
            access=access,
            jobs=jobs,
            referrers=referrers,
            report=report,
        )
    _done(invocation, moved)


@command("pull")
@click.argument("reference")
@click.option(
    "--output", type=FILE, metavar="FOLDER", help="Write plain files there, and nothing to the store."
)
@click.option(
    "--include",
    multiple=True,
    metavar="ROLE|GLOB",
    help="With --output: only such files, as `config`, `license` or `tokenizer*`; repeatable.",
)
@options.jobs
@options.referrers
@options.transfer_options
def pull(
    invocation: Invocation,
    reference: str,
    output: Path | None,
    include: tuple[str, ...],
    jobs: int | None,
    referrers: bool,
    access: Access,
) -> None:
    """Pull REFERENCE into the local store, verified. Goes on where a broken pull stopped. Prints the digest.

    \b
    Examples:
      mrpack pull registry.example.com/team/smollm2:135M-Q4_1
      mrpack pull smollm2@sha256:0123…   (exactly this content)
      mrpack pull hf.co/unsloth/SmolLM2-135M-Instruct-GGUF:Q4_K_M
      mrpack pull registry.example.com/team/qwen3 --output ./qwen3 --include config --include 'tokenizer*'
    """
    if output is not None:
        _extract(invocation, reference, output, include, access, jobs, referrers=referrers)
        return
    if include:
        raise UsageError(
            "the store keeps whole models only", hint="add --output FOLDER to get some of the files"
        )
    with reporting(invocation, "pulling") as report:
        moved = verbs.pull(
            invocation.workspace,
            reference,
            access=access,
            jobs=jobs,
            referrers=referrers,
            report=report,
        )
    _done(invocation, moved)


def _extract(
    invocation: Invocation,
    reference: str,
    folder: Path,
    include: tuple[str, ...],
    access: Access,
    jobs: int | None,
    *,
    referrers: bool,
) -> None:
    if referrers:
        raise UsageError(
            "--referrers does not go with --output", hint="`mrpack copy` to oci:FOLDER takes both"
        )
    from mrpack.verbs.extract import extract  # noqa: PLC0415  # pathspec, for --output alone

    with reporting(invocation, "pulling") as report:
        extracted = extract(
            invocation.workspace, reference, folder, include=include, access=access, jobs=jobs, report=report
        )
    invocation.result(str(extracted.digest), extracted.to_json())


@command("copy")
@click.argument("source")
@click.argument("destination")
@click.option("--format", "dialect", type=click.Choice(["docker", "cncf"]), help="Write it in this dialect.")
@options.jobs
@options.referrers
@options.transfer_options
def copy(
    invocation: Invocation,
    source: str,
    destination: str,
    dialect: str | None,
    jobs: int | None,
    referrers: bool,
    access: Access,
) -> None:
    """Copy SOURCE to DESTINATION, each in a registry, `oci:FOLDER[:TAG]` or `oci-archive:FILE[:TAG]`.

    Prints the digest. Nothing passes through the local store. With --format, config and manifest are written
    anew over the same layers.

    \b
    Examples:
      mrpack copy registry.example.com/team/smollm2:v1 mirror.example.com/team/smollm2:v1
      mrpack copy registry.example.com/team/smollm2:v1 oci:./layout:v1
      mrpack copy registry.example.com/team/smollm2:v1 oci-archive:smollm2.tar
    """
    with reporting(invocation, "copying") as report:
        moved = verbs.copy(
            invocation.workspace,
            source,
            destination,
            dialect=dialect,
            access=access,
            jobs=jobs,
            referrers=referrers,
            report=report,
        )
    _done(invocation, moved)

"""Commands on what belongs to an artifact: `attach`, `referrers`."""

from __future__ import annotations

from pathlib import Path

import click

from mrpack.cli import options
from mrpack.cli.invocation import Invocation, command
from mrpack.cli.table import printable, render_table
from mrpack.cli.values import files, key_values
from mrpack.model.amounts import human_size
from mrpack.verbs import referrers as verbs
from mrpack.workspace import Access


@command("attach")
@click.argument("arguments", nargs=-1, required=True, metavar="[FILE...] REFERENCE", shell_complete=files)
@click.option(
    "--type", "artifact_type", required=True, metavar="MEDIA/TYPE", help="What is attached, and its files."
)
@click.option(
    "--annotation", "annotations", multiple=True, metavar="KEY=VALUE", help="Of what is attached; repeatable."
)
@options.registry_options
def attach(
    invocation: Invocation,
    arguments: tuple[str, ...],
    artifact_type: str,
    annotations: tuple[str, ...],
    access: Access,
) -> None:
    """Push FILEs as an artifact that belongs to REFERENCE, which itself does not change. Prints its digest.

    So signatures, bills of materials and reports find their model. REFERENCE is in a registry, or
    `oci:FOLDER[:TAG]`.

    \b
    Example:
      mrpack attach model.spdx.json registry.example.com/team/smollm2:v1 --type application/spdx+json
    """
    *files, reference = arguments
    attached = verbs.attach(
        invocation.workspace,
        [Path(file) for file in files],
        reference,
        artifact_type=artifact_type,
        annotations=key_values(annotations, "annotation"),
        access=access,
    )
    digest = str(attached.manifest.digest)
    invocation.result(
        digest, {"digest": digest, "subject": str(attached.subject.digest), "artifact_type": artifact_type}
    )


@command("referrers")
@click.argument("reference")
@click.option("--type", "artifact_type", metavar="MEDIA/TYPE", help="Only what is of this type.")
@options.registry_options
def referrers(invocation: Invocation, reference: str, artifact_type: str | None, access: Access) -> None:
    """List what belongs to REFERENCE, in a registry or `oci:FOLDER[:TAG]`: signatures, bills of materials.

    \b
    Example:
      mrpack referrers registry.example.com/team/smollm2:v1
    """
    found = verbs.list_referrers(invocation.workspace, reference, artifact_type=artifact_type, access=access)
    rows = [
        (printable(item.artifact_type or ""), str(item.digest), human_size(item.size))
        for item in found.referrers
    ]
    invocation.result(render_table(("TYPE", "DIGEST", "SIZE"), rows) if rows else "", found.to_json())
    if not rows:
        invocation.say(f"nothing belongs to {found.name}")

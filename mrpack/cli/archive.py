"""Commands for air gaps: `export` to one file, `import` from one."""

from __future__ import annotations

from pathlib import Path

import click

from mrpack.cli import options
from mrpack.cli.invocation import Invocation, command
from mrpack.cli.progress import reporting
from mrpack.verbs import archive as verbs


@command("export")
@click.argument("model")
@click.argument("file", type=options.FILE)
@options.referrers
def export(invocation: Invocation, model: str, file: Path, referrers: bool) -> None:
    """Write the local MODEL to FILE, an OCI image layout in one tar. Prints the digest.

    The same model gives the same bytes. FILE has its name only when it is complete. skopeo and podman read it
    as `oci-archive:FILE`.

    \b
    Example:
      mrpack export smollm2 smollm2.tar
    """
    with reporting(invocation, "exporting") as report:
        moved = verbs.export_model(invocation.workspace, model, file, referrers=referrers, report=report)
    invocation.result(
        str(moved.digest), {"reference": moved.name, "digest": str(moved.digest), "size": moved.size}
    )


@command("import")
@click.argument("file", type=options.FILE)
@click.argument("name", required=False)
@options.referrers
def import_(invocation: Invocation, file: Path, name: str | None, referrers: bool) -> None:
    """Bring the models in FILE into the local store, or the one in it as NAME. Prints their names.

    FILE comes from `mrpack export`, `skopeo copy … oci-archive:FILE` or `docker save`. Everything is
    verified; nothing is unpacked beside the store.

    \b
    Examples:
      mrpack import smollm2.tar
      mrpack import smollm2.tar registry.example.com/team/smollm2:v1
    """
    with reporting(invocation, "importing") as report:
        imported = verbs.import_models(invocation.workspace, file, name, referrers=referrers, report=report)
    invocation.result(
        "\n".join(moved.name for moved in imported),
        [{"reference": moved.name, "digest": str(moved.digest), "size": moved.size} for moved in imported],
    )

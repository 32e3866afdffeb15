"""The command `inspect`."""

from __future__ import annotations

import click

from mrpack.cli import options
from mrpack.cli.invocation import Invocation, command
from mrpack.cli.progress import human_size
from mrpack.cli.table import printable, render_table
from mrpack.verbs import inspect as verbs
from mrpack.workspace import Access


@command("inspect")
@click.argument("model")
@click.option(
    "--remote", is_flag=True, help="Read it from its registry (or `oci:` folder); nothing is pulled."
)
@options.registry_options
def inspect(
    invocation: Invocation,
    model: str,
    remote: bool,
    access: Access,
) -> None:
    """Show what MODEL is and which files it holds.

    \b
    Examples:
      mrpack inspect smollm2
      mrpack inspect --remote registry.example.com/team/smollm2:135M-Q4_1 --json
    """
    if remote or model.startswith("oci:"):
        inspected = verbs.inspect_remote(invocation.workspace, model, access)
    else:
        inspected = verbs.inspect(invocation.workspace, model)
    invocation.result(_text(inspected), inspected.to_json())


def _text(inspected: verbs.Inspected) -> str:
    value = inspected.to_json()
    facts = [
        (label, str(value[key]))
        for label, key in (
            ("Reference", "reference"),
            ("Digest", "digest"),
            ("Format", "format"),
            ("Architecture", "architecture"),
            ("Parameters", "parameters"),
            ("Quantization", "quantization"),
            ("Context size", "context_size"),
            ("Created", "created"),
            ("Config", "config_media_type"),
        )
        if value[key] is not None
    ]
    facts.append(("Size", human_size(value["size"])))
    lines = [f"{label + ':':<14}{printable(text)}" for label, text in facts]
    rows = [
        (file["path"], file["role"], human_size(file["size"]), file["digest"].partition(":")[2][:12])
        for file in value["files"]
    ]
    rows += [
        (
            item["name"] or "(archive)",
            item["role"],
            human_size(item["size"]),
            item["digest"].partition(":")[2][:12],
        )
        for item in value["archives"]
    ]
    return "\n".join([*lines, "", render_table(("FILE", "ROLE", "SIZE", "BLOB"), rows)])

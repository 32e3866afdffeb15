"""The command `inspect`."""

from __future__ import annotations

import sys
from typing import Final

import click

from mrpack.cli import options
from mrpack.cli.invocation import Invocation, command
from mrpack.cli.messages import columns
from mrpack.cli.table import printable, render_table
from mrpack.cli.values import key_value_lines, local_models
from mrpack.errors import UsageError
from mrpack.model.amounts import human_size
from mrpack.model.quantization import QUANTIZATIONS
from mrpack.targets import is_place
from mrpack.verbs import inspect as verbs
from mrpack.workspace import Access

# Of files with code; all of them are in --json.
_CODE_LINES: Final = 5


@command("inspect")
@click.argument("model", required=False, shell_complete=local_models)
@click.option(
    "--remote", is_flag=True, help="Read it from its registry (or `oci:` folder); nothing is pulled."
)
@click.option("--quantizations", is_flag=True, help="Show the table of GGUF quantizations instead.")
@options.registry_options
def inspect(
    invocation: Invocation,
    model: str | None,
    remote: bool,
    quantizations: bool,
    access: Access,
) -> None:
    """Show what MODEL is and which files it holds.

    \b
    Examples:
      mrpack inspect smollm2
      mrpack inspect --remote registry.example.com/team/smollm2:135M-Q4_1 --json
      mrpack inspect --quantizations
    """
    if quantizations:
        if model is not None or remote:
            raise UsageError("--quantizations is about no model")
        _show_quantizations(invocation)
        return
    if model is None:
        raise UsageError("which MODEL?", hint="`mrpack list` shows them")
    if remote or is_place(model):
        inspected = verbs.inspect_remote(invocation.workspace, model, access)
    else:
        inspected = verbs.inspect(invocation.workspace, model)
    invocation.result(_text(inspected), inspected.to_json())


def _show_quantizations(invocation: Invocation) -> None:
    """Those of the table, best first, without those that llama.cpp no longer opens."""
    rows = [row for row in QUANTIZATIONS if not row.removed]
    text = render_table(
        ("NAME", "BITS/WEIGHT", "TYPE", "QUALITY", "ALSO"),
        [
            (
                row.name,
                f"{row.bits_per_weight:g}",
                str(row.file_type),
                row.note + ("; made with --imatrix" if row.needs_importance else ""),
                ", ".join((row.label, *row.aliases)),
            )
            for row in rows
        ],
        columns(sys.stdout),
    )
    invocation.result(text, [row.to_json() for row in QUANTIZATIONS])


def _text(inspected: verbs.Inspected) -> str:
    value = inspected.to_json()
    known = inspected.quantization
    if known is not None:
        # A pair of labels, as old artifacts have it, becomes the one that it means.
        value["quantization"] = f"{known.name} ({known.bits_per_weight:g} bits per weight: {known.note})"
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
    settings = key_value_lines(inspected.settings.values) if inspected.settings else []
    facts += [("" if number else "Settings", text) for number, text in enumerate(settings)]
    if value["code"]:
        shown = [f"{item['path']}: {item['reason']}" for item in value["code"][:_CODE_LINES]]
        if len(value["code"]) > _CODE_LINES:
            shown.append(f"and {len(value['code']) - _CODE_LINES} more")
        facts += [("" if number else "Code", text) for number, text in enumerate(shown)]
    lines = [f"{label + ':' if label else '':<14}{printable(text)}" for label, text in facts]
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

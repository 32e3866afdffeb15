"""Commands on the names of the local store: `list`, `tag`, `rm`, `resolve`."""

from __future__ import annotations

from typing import Any

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.progress import human_size
from mrpack.cli.table import render_table
from mrpack.verbs import local as verbs


@command("list")
@click.argument("name", required=False)
def list_models(invocation: Invocation, name: str | None) -> None:
    """List local models, or those whose reference contains NAME.

    \b
    Examples:
      mrpack list
      mrpack list smollm2 --json
    """
    workspace = invocation.workspace
    rows = []
    values: list[dict[str, Any]] = []
    for listed in verbs.list_models(workspace):
        if name is not None and name not in str(listed.reference):
            continue
        config = listed.config
        values.append(listed.to_json())
        rows.append(
            (
                listed.reference.familiar(workspace.settings.references),
                config.parameters if config else "",
                config.quantization.removeprefix("MOSTLY_") if config else "",
                config.architecture if config else "",
                listed.manifest.digest.short,
                str(config.context_size or "") if config else "",
                human_size(listed.size) if config else listed.problem[:60],
            )
        )
    header = ("MODEL", "PARAMETERS", "QUANTIZATION", "ARCHITECTURE", "ID", "CONTEXT", "SIZE")
    invocation.result(render_table(header, rows), values)
    if not rows:
        invocation.say(
            "no models here yet: `mrpack pull` or `mrpack package` brings one"
            if name is None
            else f"no local model has {name!r} in its name: `mrpack list` shows all"
        )


@command("tag")
@click.argument("model")
@click.argument("new")
def tag(invocation: Invocation, model: str, new: str) -> None:
    """Give the local MODEL the further name NEW.

    \b
    Example:
      mrpack tag smollm2 registry.example.com/team/smollm2:stable
    """
    tagged = verbs.tag(invocation.workspace, model, new)
    invocation.result(
        str(tagged.reference),
        {"reference": str(tagged.reference), "digest": str(tagged.manifest.digest)},
    )


@command("rm")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--keep-blobs", is_flag=True, help="Only take the names away; `mrpack gc` frees the space later."
)
def remove(invocation: Invocation, models: tuple[str, ...], keep_blobs: bool) -> None:
    """Remove local models by name, and the content that no other model needs.

    \b
    Example:
      mrpack rm smollm2:135M-Q4_1
    """
    removed = verbs.remove(invocation.workspace, models, keep_blobs=keep_blobs)
    lines = [f"removed {model.reference}" for model in removed.models]
    invocation.result(
        "\n".join(lines),
        {"removed": [str(model.reference) for model in removed.models], "freed": removed.freed},
    )
    if removed.freed is None:
        invocation.say("another mrpack is busy here: run `mrpack gc` later to free the space")
    elif removed.freed:
        invocation.say(f"freed {human_size(removed.freed)}")


@command("resolve")
@click.argument("model")
def resolve(invocation: Invocation, model: str) -> None:
    """Print the file or folder that an engine opens for the local MODEL.

    \b
    Example:
      llama-server -m "$(mrpack resolve smollm2)"
    """
    bundle = verbs.resolve(invocation.workspace, model)
    invocation.result(
        str(bundle.main_path),
        {
            "path": str(bundle.main_path),
            "folder": str(bundle.folder),
            "files": [
                {
                    "path": str(bundle.folder / file.path),
                    "role": str(file.role),
                    "digest": str(file.descriptor.digest),
                }
                for file in bundle.artifact.files
            ],
        },
    )

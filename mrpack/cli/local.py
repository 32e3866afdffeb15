"""Commands on the names of the local store: `list`, `tag`, `rm`, `resolve`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from mrpack.cli import options
from mrpack.cli.invocation import Invocation, command
from mrpack.cli.messages import columns
from mrpack.cli.table import narrowed, printable, render_table
from mrpack.cli.values import local_models
from mrpack.errors import UsageError
from mrpack.model.amounts import human_size
from mrpack.verbs import local as verbs
from mrpack.workspace import Access

if TYPE_CHECKING:
    from mrpack.oci.reference import ReferenceDefaults

# Columns that a narrow terminal does without, and `inspect` shows.
_SPARE: Final = ("CONTEXT", "ARCHITECTURE", "PARAMETERS")


@command("list")
@click.argument("name", required=False)
@click.option("--remote", is_flag=True, help="List the tags of the repository NAME in its registry.")
@options.registry_options
def list_models(invocation: Invocation, name: str | None, remote: bool, access: Access) -> None:
    """List local models, or those whose reference contains NAME.

    With --remote, or for another place (`ollama:`, `dmr:`, `oci:FOLDER`), the names of what is there. A
    narrow terminal gets fewer columns.

    \b
    Examples:
      mrpack list
      mrpack list smollm2 --json
      mrpack list --remote registry.example.com/team/smollm2
      mrpack list ollama:
    """
    if remote and name is None:
        raise UsageError("which repository?", hint="`mrpack list --remote registry.example.com/team/model`")
    if name is not None and _list_elsewhere(invocation, name, access, remote=remote):
        return
    workspace = invocation.workspace
    models = [model for model in verbs.list_models(workspace) if name is None or name in str(model.reference)]
    if invocation.json:
        invocation.result("", [model.to_json() for model in models])
    else:
        header = ("MODEL", "PARAMETERS", "QUANTIZATION", "ARCHITECTURE", "ID", "CONTEXT", "SIZE")
        rows = [_row(model, workspace.settings.references) for model in models]
        invocation.result(render_table(*narrowed(header, rows, columns(sys.stdout), _SPARE)), None)
    if not models:
        invocation.say(
            "no models here yet: `mrpack pull` or `mrpack package` brings one"
            if name is None
            else f"no local model has {name!r} in its name: `mrpack list` shows all"
        )


def _list_elsewhere(invocation: Invocation, name: str, access: Access, *, remote: bool) -> bool:
    """Whether it is elsewhere that `name` is looked for."""
    from mrpack.targets import is_place, list_names  # noqa: PLC0415  # local models need no places

    if not remote and not is_place(name):
        return False
    names = list_names(invocation.workspace, name, access)
    invocation.result("\n".join(map(printable, names)), [{"reference": found} for found in names])
    if not names:
        invocation.say(f"nothing is in {name}")
    return True


def _row(model: verbs.ListedModel, defaults: ReferenceDefaults) -> tuple[str, ...]:
    name, short = model.reference.familiar(defaults), model.manifest.digest.short
    summary = model.summary
    if summary is None:
        return (name, "", "", "", short, "", model.problem[:60])
    return (
        name,
        summary.parameters,
        summary.quantization.removeprefix("MOSTLY_"),
        summary.architecture,
        short,
        str(summary.context_size or ""),
        human_size(summary.size),
    )


@command("tag")
@click.argument("model", shell_complete=local_models)
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
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=local_models)
@click.option(
    "--keep-blobs", is_flag=True, help="Only take the names away; `mrpack gc` frees the space later."
)
def remove(invocation: Invocation, models: tuple[str, ...], keep_blobs: bool) -> None:
    """Remove local models by name, and the content that no other model needs.

    What several names share, as an id may be, removes none of them.

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
@click.argument("model", shell_complete=local_models)
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

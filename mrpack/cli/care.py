"""Commands that look after the store: `verify`, `repair`, `df`, `gc`."""

from __future__ import annotations

import click

from mrpack.cli import options
from mrpack.cli.invocation import Invocation, command
from mrpack.cli.progress import reporting
from mrpack.cli.values import local_models
from mrpack.errors import IntegrityError
from mrpack.model.amounts import counted, human_size
from mrpack.verbs import care as verbs


@command("verify")
@click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=local_models)
@options.hash_jobs
def verify(invocation: Invocation, models: tuple[str, ...], jobs: int | None) -> None:
    """Hash the content of MODELs (default: of the whole store) again and compare.

    Exit code 6 when something is damaged.

    \b
    Example:
      mrpack verify smollm2
    """
    with reporting(invocation, "verifying") as report:
        checked, damages = verbs.verify(invocation.workspace, models, jobs=jobs, report=report)
    invocation.result(
        "\n".join(f"{damage.digest}: {damage.problem}" for damage in damages),
        {
            "models": checked,
            "damaged": [
                {"digest": str(item.digest), "problem": item.problem, "references": list(item.references)}
                for item in damages
            ],
        },
    )
    if damages:
        names = sorted({name for damage in damages for name in damage.references})
        raise IntegrityError(
            f"{counted(len(damages), 'damaged blob')}, needed by {', '.join(names) or 'no model'}",
            hint="`mrpack repair` moves them aside; then pull or package these models again",
        )
    invocation.say(f"{counted(checked, 'model')} verified, all content is what its digest says")


@command("repair")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@options.hash_jobs
def repair(invocation: Invocation, dry_run: bool, jobs: int | None) -> None:
    """Hash the whole store, move damaged blobs aside, and rebuild a lost or broken index.

    A model whose name is lost is found again as localhost/recovered/ID. Exit code 6 when models are left that
    have to be pulled or packaged again.

    \b
    Example:
      mrpack repair --dry-run
    """
    with reporting(invocation, "verifying") as report:
        repaired = verbs.repair(invocation.workspace, dry_run=dry_run, jobs=jobs, report=report)
    lines = [
        *(f"rebuilt the index: {reason}" for reason in (repaired.rebuilt,) if reason),
        *(f"moved aside {item.digest}: {item.problem}" for item in repaired.damaged),
        *(f"recovered {name}" for name in repaired.recovered),
        *(f"dropped {name}: its manifest is lost" for name in repaired.dropped),
        *(f"incomplete {name}" for name in repaired.incomplete),
    ]
    invocation.result("\n".join(lines), {**repaired.to_json(), "dry_run": dry_run})
    if repaired.is_sound:
        invocation.say("nothing to repair")
    needed = [*repaired.dropped, *repaired.incomplete]
    if needed:
        raise IntegrityError(
            f"lost content of {counted(len(needed), 'model')}: {', '.join(needed)}",
            hint="pull or package them again",
        )


@command("df")
def df(invocation: Invocation) -> None:
    """Show what the store takes on disk, what `mrpack gc` would free, and where it is.

    \b
    Example:
      mrpack df --json
    """
    store = invocation.workspace.store
    usage = store.usage()
    invocation.result(
        f"{counted(usage.models, 'model')}, {human_size(usage.blobs)} in blobs, "
        f"{human_size(usage.reclaimable)} reclaimable, {human_size(usage.partial)} in partial downloads",
        {
            "models": usage.models,
            "blobs": usage.blobs,
            "reclaimable": usage.reclaimable,
            "partial": usage.partial,
            "home": str(store.home),
        },
    )
    invocation.say(f"in {store.home}")


@command("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def gc(invocation: Invocation, dry_run: bool) -> None:
    """Remove blobs, partial downloads and bundles that no model needs.

    \b
    Example:
      mrpack gc --dry-run
    """
    collected = invocation.workspace.store.collect(dry_run=dry_run)
    word = "would free" if dry_run else "freed"
    invocation.result(
        f"{word} {human_size(collected.freed)} in {counted(len(collected.digests), 'blob')}",
        {
            "digests": [str(digest) for digest in collected.digests],
            "freed": collected.freed,
            "dry_run": dry_run,
        },
    )

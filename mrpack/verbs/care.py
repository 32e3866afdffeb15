"""Verbs on the content of the local store: verify, repair."""

from __future__ import annotations

from collections.abc import Sequence

from mrpack.content.progress import Report, silent
from mrpack.store.checkup import Damage
from mrpack.store.repair import Repaired
from mrpack.store.store import Store
from mrpack.workspace import Workspace


def verify(
    workspace: Workspace, models: Sequence[str], *, jobs: int | None = None, report: Report = silent
) -> tuple[int, list[Damage]]:
    """How many models were checked, and what is damaged; when none is named, of all that is in the store.

    A model with several names counts once. `jobs`: blobs hashed at once, by default one a processor.
    """
    store = workspace.store
    named = [store.find(name) for name in models]
    checked = {model.manifest.digest for model in named or store.models()}
    return len(checked), store.verify(named or None, jobs=jobs, report=report)


def repair(
    workspace: Workspace, *, dry_run: bool = False, jobs: int | None = None, report: Report = silent
) -> Repaired:
    """Move damaged blobs aside, and make the index again when it is lost or broken; see `Repaired`.

    Raises:
        NotFound: there is no store.
        StoreBusy: another mrpack is writing to it.
    """
    settings = workspace.settings
    return Store(settings.home, settings.references, lenient=True).repair(
        dry_run=dry_run, jobs=jobs, report=report
    )

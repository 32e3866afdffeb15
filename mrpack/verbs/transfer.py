"""Verbs that move artifacts: push, pull, copy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mrpack.content.carrying import copy_referrers
from mrpack.content.copy import copy as copy_content
from mrpack.content.progress import Event, Planned, Report, silent
from mrpack.digest import Digest
from mrpack.errors import IntegrityError, TransferError, UsageError
from mrpack.hub import is_hub_reference
from mrpack.targets import Origin, Place, hinting_at_local, is_place, open_place, open_source
from mrpack.verbs.code import code_notes
from mrpack.workspace import Access, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """`name` as the destination knows it; `size`: bytes of all its blobs, moved now or there before.

    `notes` are for people.
    """

    name: str
    digest: Digest
    size: int
    notes: tuple[str, ...] = ()


def push(
    workspace: Workspace,
    model: str,
    destination: str | None = None,
    *,
    access: Access | None = None,
    jobs: int | None = None,
    referrers: bool = False,
    report: Report = silent,
) -> Moved:
    """Push a local model under its own name, or as `destination`. Repeating it costs a few requests.

    `referrers`: with all that belongs to it, which goes before it.

    Raises:
        NotFound: no such local model.
        UsageError: `model` is in another place.
        TransferError: says which side failed; AccessDenied and the like are its causes.
    """
    if is_place(model):
        raise UsageError(
            f"{model} is not in the local store", hint=f"`mrpack copy {model} {destination or 'DESTINATION'}`"
        )
    stored = workspace.store.find(model)
    place = open_place(workspace, destination or str(stored.reference), access)
    with workspace.store.reading() as layout, _suspecting(model):
        return move(
            Origin(source=layout, ref=str(stored.manifest.digest), name=model, local=stored.reference),
            place,
            jobs=jobs or workspace.settings.jobs,
            referrers=referrers,
            report=report,
        )


@contextlib.contextmanager
def _suspecting(model: str) -> Iterator[None]:
    """A registry that gets other bytes than announced: what is stored goes there without a second look."""
    try:
        yield
    except TransferError as error:
        if isinstance(error.cause, IntegrityError) and error.hint is None:
            error.hint = f"`mrpack verify {model}` shows whether it is damaged here"
        raise


def pull(
    workspace: Workspace,
    reference: str,
    *,
    access: Access | None = None,
    jobs: int | None = None,
    referrers: bool = False,
    report: Report = silent,
) -> Moved:
    """Pull into the local store under the full reference. What is already here is not fetched again.

    A Hugging Face repository is packaged on the way; how to reach a registry means nothing for it. What comes
    from another tool's store keeps the name that it has there.
    """
    if is_hub_reference(reference):
        return _pull_from_hub(workspace, reference, access, jobs, report)
    origin = open_source(workspace, reference, access)
    if origin.local is None:
        raise UsageError(
            f"{reference!r} has no name to pull it under",
            hint="use `mrpack copy`, or `mrpack import FILE NAME` for an archive",
        )
    with workspace.store.operation() as layout:
        moved = move(
            origin,
            Place(target=layout, ref=str(origin.local), name=str(origin.local)),
            jobs=jobs or workspace.settings.jobs,
            referrers=referrers,
            report=report,
        )
        return replace(moved, notes=code_notes(layout, layout.resolve(str(moved.digest))))


def _pull_from_hub(
    workspace: Workspace, name: str, access: Access | None, jobs: int | None, report: Report
) -> Moved:
    from mrpack.verbs.hub import pull_hub_model  # noqa: PLC0415  # an extra that registries do not need

    if access not in {None, Access()}:
        raise UsageError(
            "these options are for registries", hint="SSL_CERT_FILE and HF_ENDPOINT say how to reach the hub"
        )
    reference, manifest = pull_hub_model(workspace, name, jobs=jobs, report=report)
    size = sum(blob.size for blob in manifest.blobs)
    return Moved(name=str(reference), digest=manifest.descriptor.digest, size=size)


def copy(
    workspace: Workspace,
    source: str,
    destination: str,
    *,
    dialect: str | None = None,
    access: Access | None = None,
    jobs: int | None = None,
    referrers: bool = False,
    report: Report = silent,
) -> Moved:
    """Copy between two places (registry references, `oci:` folders and the like); the store is not touched.

    With `dialect`, a row of WRITERS, the artifact is written anew in it over the same layers; files in
    archives are unpacked for that, and become layers of their own.
    """
    if dialect is not None and referrers:
        raise UsageError("what belongs to an artifact does not belong to one that is written anew")
    place = open_place(workspace, destination, access)
    with hinting_at_local(workspace, source, f"`mrpack push {source} {destination}`"):
        origin = open_source(workspace, source, access)
        jobs = jobs or workspace.settings.jobs
        if dialect is None:
            return move(origin, place, jobs=jobs, referrers=referrers, report=report)
        from mrpack.verbs.rewriting import rewritten  # noqa: PLC0415  # packaging, which few copies need

        with rewritten(workspace, origin, dialect) as (anew, notes):
            moved = move(anew, place, jobs=jobs, referrers=False, report=report)
            return replace(moved, notes=notes)


def move(origin: Origin, place: Place, *, jobs: int, referrers: bool, report: Report) -> Moved:
    """The one copy, with what belongs to the artifact if wanted."""
    sizes = _Sizes(report)
    if referrers:
        root = origin.source.resolve(origin.ref)
        copy_referrers(origin.source, root, place.target, jobs=jobs, report=sizes)
    moved = copy_content(origin.source, origin.ref, place.target, place.ref, jobs=jobs, report=sizes)
    return Moved(name=place.name, digest=moved.digest, size=sizes.total)


class _Sizes:
    """Adds up the blobs of a copy on their way to whoever watches it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.total = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Planned):
            self.total += sum(blob.size for blob in event.blobs)
        self._report(event)

"""Verbs that move artifacts: push, pull, copy."""

from __future__ import annotations

from dataclasses import dataclass

from mrpack.content.copy import copy as copy_content
from mrpack.content.ports import Source
from mrpack.content.progress import Event, Planned, Report, silent
from mrpack.digest import Digest
from mrpack.errors import NotFound, UsageError
from mrpack.hub import is_hub_reference, parse_hub_reference
from mrpack.model.dialects import WRITERS
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.reference import Reference
from mrpack.packing.pack import pack
from mrpack.packing.plan import Wishes
from mrpack.packing.plan_stored import plan_stored
from mrpack.targets import open_place
from mrpack.verbs.stored import read_stored
from mrpack.workspace import Access, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """`name` as the destination knows it; `size`: bytes of all its blobs, moved now or there before."""

    name: str
    digest: Digest
    size: int


class _Sizes:
    """Adds up the blobs of a copy on their way to whoever watches it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.total = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Planned):
            self.total += sum(blob.size for blob in event.blobs)
        self._report(event)


def push(
    workspace: Workspace,
    model: str,
    destination: str | None = None,
    *,
    access: Access | None = None,
    jobs: int | None = None,
    report: Report = silent,
) -> Moved:
    """Push a local model under its own name, or as `destination`. Repeating it costs a few requests.

    Raises:
        NotFound: no such local model.
        TransferError: says which side failed; AccessDenied and the like are its causes.
    """
    stored = workspace.store.find(model)
    place = open_place(workspace, destination or str(stored.reference), access)
    sizes = _Sizes(report)
    with workspace.store.reading() as layout:
        moved = copy_content(
            layout,
            str(stored.manifest.digest),
            place.target,
            place.ref,
            jobs=jobs or workspace.settings.jobs,
            report=sizes,
        )
    return Moved(name=place.name, digest=moved.digest, size=sizes.total)


def pull(
    workspace: Workspace,
    reference: str,
    *,
    access: Access | None = None,
    jobs: int | None = None,
    report: Report = silent,
) -> Moved:
    """Pull into the local store under the full reference. What is already here is not fetched again.

    A Hugging Face repository is packaged on the way; how to reach a registry means nothing for it.
    """
    if is_hub_reference(reference):
        return _pull_from_hub(workspace, reference, access, jobs, report)
    wanted = Reference.parse(reference, workspace.settings.references)
    sizes = _Sizes(report)
    source = workspace.registry(wanted, access)
    with workspace.store.operation() as layout:
        moved = copy_content(
            source, wanted.target, layout, str(wanted), jobs=jobs or workspace.settings.jobs, report=sizes
        )
    return Moved(name=str(wanted), digest=moved.digest, size=sizes.total)


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
    report: Report = silent,
) -> Moved:
    """Copy between two places (registry references, `oci:` folders); the local store is not touched.

    With `dialect`, a row of WRITERS, the artifact is written anew in it over the same layers.
    """
    origin = open_place(workspace, source, access, create=False)
    place = open_place(workspace, destination, access)
    content: Source = origin.target
    ref = origin.ref
    if dialect is not None:
        artifact, settings = read_stored(content, content.resolve(ref))
        packed = pack(plan_stored(artifact, settings, Wishes()), WRITERS[dialect], base=content)
        content, ref = packed, packed.ref
    sizes = _Sizes(report)
    moved = copy_content(
        content, ref, place.target, place.ref, jobs=jobs or workspace.settings.jobs, report=sizes
    )
    return Moved(name=place.name, digest=moved.digest, size=sizes.total)


def ensure_local(
    workspace: Workspace, name: str, *, pull_missing: bool, report: Report = silent
) -> Descriptor:
    """The manifest of a local model, pulled first when it is missing and `pull_missing` allows it."""
    local = name
    if is_hub_reference(name):
        defaults = workspace.settings.references
        local = str(parse_hub_reference(name, defaults).local_name(defaults))
    try:
        return workspace.store.find(local).manifest
    except NotFound:
        if not pull_missing:
            raise
    pull(workspace, name, report=report)
    return workspace.store.find(local).manifest

"""The verb that builds artifacts, from model files or from a stored artifact."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from mrpack.content.copy import copy
from mrpack.content.ports import Source
from mrpack.content.progress import Report, Worked, silent
from mrpack.errors import InvalidArtifact, UsageError
from mrpack.model.config import ModelConfig
from mrpack.model.dialects import WRITERS
from mrpack.model.layer import PlannedLayer
from mrpack.model.overrides import parse_setting
from mrpack.model.quantization import auto_tag
from mrpack.model.timestamp import format_ns, parse_rfc3339
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest
from mrpack.oci.reference import Reference
from mrpack.packing.pack import PackedArtifact, pack, with_created
from mrpack.packing.plan import Plan, Wishes, refuse_findings
from mrpack.packing.plan_stored import plan_stored
from mrpack.packing.sources import PLANNERS, SINGLE_FILES, detect
from mrpack.targets import hinting_at_local, is_place, open_place, open_source, refuse_hub
from mrpack.verbs.hub import fetch_hub_model
from mrpack.verbs.scratch import scratch_file
from mrpack.verbs.stored import read_stored
from mrpack.workspace import Access, Workspace

# ModelPack's config has no place for a context size.
_WITHOUT_CONTEXT_SIZE: Final = "cncf"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRequest:
    """What to build.

    From `source`, a file or folder of the `kind` that is a row of PLANNERS (None: look at it); from `hub`, a
    Hugging Face repository; or from `stored`, a local model, without the files that `drop` names. `created`
    is RFC 3339, None for the time of `wishes.facts`, or that of the stored model. `one_file` is a row of
    SINGLE_FILES: the folder is written as one file of that format first. `dialect` and `also` are
    rows of WRITERS; `also` makes a second manifest over the same layers, under the tag with that name behind
    it.
    """

    source: Path | None = None
    kind: str | None = None
    hub: str | None = None
    stored: str | None = None
    drop: tuple[str, ...] = ()
    one_file: str | None = None
    wishes: Wishes = field(default_factory=Wishes)
    created: str | None = None
    dialect: str = "docker"
    also: str | None = None
    auto_tag: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """`name` where it went; empty when it went nowhere (dry run). `also`: name and manifest of the second.

    `notes` are for people: what of a stored model could not be taken over.
    """

    name: str
    manifest: Manifest
    config: ModelConfig
    layers: tuple[PlannedLayer, ...]
    also: tuple[str, Manifest] | None = None
    notes: tuple[str, ...] = ()


def package(
    workspace: Workspace,
    request: PackageRequest,
    name: str,
    *,
    push: bool = False,
    dry_run: bool = False,
    access: Access | None = None,
    jobs: int | None = None,
    report: Report = silent,
    advance: Callable[[PlannedLayer, int], None] = lambda _layer, _position: None,
) -> Packaged:
    """Build an artifact into the local store under `name`, or with `push` straight into its registry.

    Every file is read once to hash it; the store then links, reflinks or copies it in the kernel. From a
    stored model no weight is read. A file that is made first (`one_file`) is gone at the end, but for the
    store's own.

    Raises:
        InvalidArtifact, NotFound, UsageError: before anything is written.
        IntegrityError: a file changed meanwhile.
    """
    refuse_hub(name)
    if is_place(name):
        open_place(workspace, name)  # one that cannot be written to at all says so
        raise UsageError(
            f"a package goes into the local store or a registry, not to {name}",
            hint=f"give it a name, then `mrpack push NAME {name}`",
        )
    reference = Reference.parse(name, workspace.settings.references)
    request = _with_context_size(request)
    downloaded = None
    if request.hub is not None:
        downloaded = fetch_hub_model(
            workspace,
            request.hub,
            projector=request.wishes.extras.mmproj is None,
            jobs=jobs,
            report=report,
        )
        wishes = downloaded.wishes(request.wishes)
        request = replace(request, source=downloaded.source, kind=downloaded.kind, wishes=wishes)
    with contextlib.ExitStack() as held:
        if request.one_file is not None:
            request = held.enter_context(_written(workspace, request, request.one_file, report))
        planned, base, notes = _plan(workspace, request, held)
        if request.auto_tag:
            reference = tagged(reference, name, planned.config)
        packed = pack(planned, WRITERS[request.dialect], base=base, advance=_hashing(report, advance))
        if downloaded is not None:
            # What the hub says of large files is compared with the digests that were computed anyway.
            downloaded.check(planned.layers, packed.manifest)
        results = [(reference, packed)]
        if request.also is not None:
            second = _rewritten(packed, planned, request.also)
            results.append((reference.with_tag(f"{reference.tag}-{request.also}"), second))
        if not dry_run:
            for place, artifact in results:
                _deliver(workspace, artifact, place, push, access, jobs, report)
    return Packaged(
        name="" if dry_run else str(reference),
        manifest=packed.manifest,
        config=planned.config,
        layers=planned.layers,
        also=(str(results[1][0]), results[1][1].manifest) if request.also is not None else None,
        notes=notes,
    )


def _hashing(
    report: Report, advance: Callable[[PlannedLayer, int], None]
) -> Callable[[PlannedLayer, int], None]:
    def both(layer: PlannedLayer, position: int) -> None:
        report(Worked(f"hashing {layer.path}", layer.metadata.size, position))
        advance(layer, position)

    return both


@contextlib.contextmanager
def _written(
    workspace: Workspace, request: PackageRequest, wanted: str, report: Report
) -> Iterator[PackageRequest]:
    """The request with its folder written as one file, which lives as long as the bracket."""
    single = SINGLE_FILES[wanted]
    folder = request.source
    if folder is None or request.hub is not None or (request.kind or detect(folder)) != single.folder:
        raise UsageError(f"{wanted} is made from a folder of kind {single.folder}")
    with scratch_file(workspace, f".{wanted}") as path:
        single.write(
            folder, request.wishes, path, lambda name, size, at: report(Worked(f"writing {name}", size, at))
        )
        name = request.wishes.file_name or f"{folder.resolve().name}.{wanted}"
        wishes = replace(request.wishes, file_name=name)
        yield replace(request, source=path, kind=wanted, wishes=wishes)


def _with_context_size(request: PackageRequest) -> PackageRequest:
    size = request.wishes.context_size
    if size is None or _WITHOUT_CONTEXT_SIZE not in (request.dialect, request.also):
        return request
    overrides = request.wishes.overrides.with_settings(parse_setting(f"context_size={size}"))
    return replace(request, wishes=replace(request.wishes, overrides=overrides))


def _plan(
    workspace: Workspace, request: PackageRequest, held: contextlib.ExitStack
) -> tuple[Plan, Source | None, tuple[str, ...]]:
    """The plan, where content lies that is stored already (as long as `held` holds), and notes."""
    created = None if request.created is None else _time(request.created)
    if request.stored is not None:
        source, manifest = _stored(workspace, request.stored)
        stored = held.enter_context(read_stored(workspace, source, manifest))
        dropped = {
            file.path for file in stored.artifact.files if {file.path, file.role.value} & set(request.drop)
        }
        kept = [finding for finding in stored.code if finding.path not in dropped]
        refuse_findings(kept, request.wishes)
        planned = plan_stored(
            stored.artifact, stored.settings, request.wishes, drop=request.drop, code=stored.code
        )
        if created is not None:
            planned = with_created(planned, created)
        return planned, stored.content, stored.notes
    if request.source is None:
        raise UsageError("there is nothing to package", hint="give a file, a folder, or a stored model")
    name = str(request.source)
    with hinting_at_local(workspace, name, f"`mrpack package --from {name} MODEL`"):
        kind = detect(request.source) if request.kind is None else request.kind
    planned = PLANNERS[kind](request.source, request.wishes)
    return with_created(planned, created or format_ns(request.wishes.facts.mtime_ns)), None, ()


def _stored(workspace: Workspace, name: str) -> tuple[Source, Descriptor]:
    if is_place(name):
        origin = open_source(workspace, name)
        return origin.source, origin.source.resolve(origin.ref)
    return workspace.store.layout, workspace.store.find(name).manifest


def _rewritten(packed: PackedArtifact, planned: Plan, dialect: str) -> PackedArtifact:
    """The same layers under another dialect's manifest; nothing is hashed again."""
    layers = tuple(
        replace(layer, content=layer.content if isinstance(layer.content, bytes) else written.plain())
        for layer, written in zip(planned.layers, packed.manifest.layers, strict=True)
    )
    return pack(replace(planned, layers=layers), WRITERS[dialect], base=packed)


def tagged(reference: Reference, name: str, config: ModelConfig) -> Reference:
    """`reference` with the tag that `config` gives; `name` is how it was written.

    Raises:
        UsageError: it has a tag or digest already.
        Unsupported: as `auto_tag`.
    """
    if name.rpartition("/")[2].count(":") or reference.digest is not None:
        raise UsageError(f"{name!r} has a tag already", hint="leave the tag out: it is derived")
    return reference.with_tag(auto_tag(config))


def _deliver(
    workspace: Workspace,
    packed: PackedArtifact,
    reference: Reference,
    push: bool,  # noqa: FBT001  # the one switch of its only caller
    access: Access | None,
    jobs: int | None,
    report: Report,
) -> None:
    count = jobs or workspace.settings.jobs
    if push:
        place = open_place(workspace, str(reference), access)
        copy(packed, packed.ref, place.target, place.ref, jobs=count, report=report)
        return
    with workspace.store.operation() as layout:
        copy(packed, packed.ref, layout, str(reference), jobs=count, report=report)


def _time(text: str) -> str:
    try:
        return format_ns(parse_rfc3339(text))
    except InvalidArtifact as error:
        raise UsageError(f"creation {error.message}", hint="write it as 2025-01-02T03:04:05Z") from None

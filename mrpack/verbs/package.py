"""The verb that builds artifacts, from model files or from a stored artifact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from mrpack.content.copy import copy
from mrpack.content.ports import Source
from mrpack.content.progress import Report, silent
from mrpack.errors import InvalidArtifact, UsageError
from mrpack.model.config import ModelConfig
from mrpack.model.dialects import WRITERS
from mrpack.model.layer import PlannedLayer
from mrpack.model.overrides import parse_setting
from mrpack.model.quantization import auto_tag
from mrpack.model.timestamp import format_ns, parse_rfc3339
from mrpack.oci.manifest import Manifest
from mrpack.oci.reference import Reference
from mrpack.packing.pack import PackedArtifact, pack, with_created
from mrpack.packing.plan import Plan, Wishes
from mrpack.packing.plan_stored import plan_stored
from mrpack.packing.sources import PLANNERS, detect
from mrpack.targets import open_place
from mrpack.verbs.hub import fetch_hub_model
from mrpack.verbs.stored import read_stored
from mrpack.workspace import Access, Workspace

# ModelPack's config has no place for a context size.
_WITHOUT_CONTEXT_SIZE: Final = "cncf"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRequest:
    """What to build.

    From `source`, a file or folder of the `kind` that is a row of PLANNERS (None: look at it); from `hub`, a
    Hugging Face repository; or from `stored`, a local model, without the files that `drop` names. `created`
    is RFC 3339, None for the time of `wishes.facts`, or that of the stored model. `dialect` and `also` are
    rows of WRITERS; `also` makes a second manifest over the same layers, under the tag with that name behind
    it.
    """

    source: Path | None = None
    kind: str | None = None
    hub: str | None = None
    stored: str | None = None
    drop: tuple[str, ...] = ()
    wishes: Wishes = field(default_factory=Wishes)
    created: str | None = None
    dialect: str = "docker"
    also: str | None = None
    auto_tag: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """`name` where it went; empty when it went nowhere (dry run). `also`: name and manifest of the second."""

    name: str
    manifest: Manifest
    config: ModelConfig
    layers: tuple[PlannedLayer, ...]
    also: tuple[str, Manifest] | None = None


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
    stored model no weight is read.

    Raises:
        InvalidArtifact, NotFound, UsageError: before anything is written.
        IntegrityError: a file changed meanwhile.
    """
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
    planned, base = _plan(workspace, request)
    if request.auto_tag:
        reference = _tagged(reference, name, planned.config)
    packed = pack(planned, WRITERS[request.dialect], base=base, advance=advance)
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
    )


def _with_context_size(request: PackageRequest) -> PackageRequest:
    size = request.wishes.context_size
    if size is None or _WITHOUT_CONTEXT_SIZE not in (request.dialect, request.also):
        return request
    overrides = request.wishes.overrides.with_settings(parse_setting(f"context_size={size}"))
    return replace(request, wishes=replace(request.wishes, overrides=overrides))


def _plan(workspace: Workspace, request: PackageRequest) -> tuple[Plan, Source | None]:
    """The plan, and where content lies that is stored already."""
    created = None if request.created is None else _time(request.created)
    if request.stored is not None:
        stored = workspace.store.find(request.stored)
        artifact, settings = read_stored(workspace.store.layout, stored.manifest)
        planned = plan_stored(artifact, settings, request.wishes, drop=request.drop)
        return (planned if created is None else with_created(planned, created)), workspace.store.layout
    if request.source is None:
        raise UsageError("there is nothing to package", hint="give a file, a folder, or a stored model")
    kind = detect(request.source) if request.kind is None else request.kind
    planned = PLANNERS[kind](request.source, request.wishes)
    return with_created(planned, created or format_ns(request.wishes.facts.mtime_ns)), None


def _rewritten(packed: PackedArtifact, planned: Plan, dialect: str) -> PackedArtifact:
    """The same layers under another dialect's manifest; nothing is hashed again."""
    layers = tuple(
        replace(layer, content=layer.content if isinstance(layer.content, bytes) else written.plain())
        for layer, written in zip(planned.layers, packed.manifest.layers, strict=True)
    )
    return pack(replace(planned, layers=layers), WRITERS[dialect], base=packed)


def _tagged(reference: Reference, name: str, config: ModelConfig) -> Reference:
    if name.rpartition("/")[2].count(":") or reference.digest is not None:
        raise UsageError(f"{name!r} has a tag already", hint="leave it out, or leave out --auto-tag")
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
        raise UsageError(f"creation time {error.message}", hint="write it as 2025-01-02T03:04:05Z") from None

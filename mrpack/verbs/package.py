"""The verb that builds artifacts from model files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mrpack.content.copy import copy
from mrpack.content.progress import Report, silent
from mrpack.errors import InvalidArtifact, UsageError
from mrpack.model.config import ModelConfig
from mrpack.model.dialects.docker import DOCKER
from mrpack.model.layer import PlannedLayer
from mrpack.model.timestamp import format_ns, parse_rfc3339
from mrpack.oci.manifest import Manifest
from mrpack.oci.reference import Reference
from mrpack.packing.pack import pack, with_created
from mrpack.packing.plan import Plan, Wishes
from mrpack.packing.sources import PLANNERS, detect
from mrpack.targets import open_place
from mrpack.workspace import Access, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRequest:
    """What to build: `source` is a file or folder, `kind` a row of PLANNERS or None to look at the source.

    `created` is RFC 3339, None for the time of `wishes.facts` (SOURCE_DATE_EPOCH, else the epoch).
    """

    source: Path
    kind: str | None = None
    wishes: Wishes = field(default_factory=Wishes)
    created: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """`name` where it went; empty when it went nowhere (dry run)."""

    name: str
    manifest: Manifest
    config: ModelConfig
    layers: tuple[PlannedLayer, ...]


def plan(request: PackageRequest) -> Plan:
    """Read headers and metadata of all files; no weight is read.

    Raises:
        NotFound, InvalidArtifact, UsageError: what is wrong with which file.
    """
    created = format_ns(request.wishes.facts.mtime_ns) if request.created is None else _time(request.created)
    kind = detect(request.source) if request.kind is None else request.kind
    return with_created(PLANNERS[kind](request.source, request.wishes), created)


def _time(text: str) -> str:
    try:
        return format_ns(parse_rfc3339(text))
    except InvalidArtifact as error:
        raise UsageError(f"creation time {error.message}", hint="write it as 2025-01-02T03:04:05Z") from None


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

    Every file is read once to hash it; the store then links, reflinks or copies it in the kernel.

    Raises:
        InvalidArtifact, NotFound, UsageError: before anything is written.
        IntegrityError: a file changed meanwhile.
    """
    reference = Reference.parse(name, workspace.settings.references)
    planned = plan(request)
    packed = pack(planned, DOCKER, advance=advance)
    done = Packaged(
        name="" if dry_run else str(reference),
        manifest=packed.manifest,
        config=planned.config,
        layers=planned.layers,
    )
    if dry_run:
        return done
    count = jobs or workspace.settings.jobs
    if push:
        place = open_place(workspace, name, access)
        copy(packed, packed.ref, place.target, place.ref, jobs=count, report=report)
    else:
        with workspace.store.operation() as layout:
            copy(packed, packed.ref, layout, str(reference), jobs=count, report=report)
    return done

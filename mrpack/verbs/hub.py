"""The verb that brings models from Hugging Face repositories."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pathspec import GitIgnoreSpec

from mrpack.content.copy import copy
from mrpack.content.documents import read_document
from mrpack.content.progress import Counted, Event, Planned, Report, Worked, silent
from mrpack.digest import Digest
from mrpack.errors import IntegrityError, NotFound, Unsupported
from mrpack.hub import HubReference, parse_hub_reference
from mrpack.hub.listing import HubListing, Selection
from mrpack.hub.select import select
from mrpack.model.dialects import WRITERS
from mrpack.model.layer import PlannedLayer
from mrpack.model.timestamp import format_ns
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest
from mrpack.oci.reference import Reference
from mrpack.packing.pack import pack, with_created
from mrpack.packing.plan import Wishes
from mrpack.packing.sources import PLANNERS
from mrpack.workspace import Workspace

if TYPE_CHECKING:
    from mrpack.hub.client import HubClient

# OCI image-spec, "Pre-Defined Annotation Keys".
_SOURCE: Final = "org.opencontainers.image.source"
_REVISION: Final = "org.opencontainers.image.revision"

_SPECIAL_IN_PATTERNS = re.compile(r"[\\*?\[\]!# ]")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModel:
    """A model of a repository, downloaded: `folder` is the commit's in huggingface_hub's cache."""

    reference: HubReference
    listing: HubListing
    selection: Selection
    folder: Path

    @property
    def kind(self) -> str:
        """A row of PLANNERS."""
        return self.selection.kind

    @property
    def source(self) -> Path:
        """What the planner takes: a file, or the folder."""
        return self.folder / self.selection.main if self.selection.main else self.folder

    @property
    def annotations(self) -> dict[str, str]:
        """Where the model comes from, for the manifest."""
        return _origin(self.listing)

    def wishes(self, wishes: Wishes) -> Wishes:
        """The user's wishes with what the repository brings; the user's own projector comes first.

        Only the chosen files are packed: the folder may hold what others downloaded.

        Raises:
            NotFound: the user's patterns take none of the chosen files.
        """
        extras = wishes.extras
        projector = self.folder / self.selection.projector if self.selection.projector else None
        licenses = tuple(self.folder / path for path in self.selection.licenses)
        choice = wishes.choice
        if not self.selection.main:
            choice = replace(choice, include=self._patterns(choice.include))
        return replace(
            wishes,
            extras=replace(extras, mmproj=extras.mmproj or projector, licenses=(*licenses, *extras.licenses)),
            choice=choice,
            annotations={**self.annotations, **wishes.annotations},
        )

    def _patterns(self, include: tuple[str, ...]) -> tuple[str, ...]:
        """One for each chosen file that `include` takes; without any, all."""
        paths = [file.path for file in self.selection.files]
        if include:
            paths = list(GitIgnoreSpec.from_lines(include).match_files(paths))
        if not paths:
            raise NotFound(f"no file of hf.co/{self.reference} matches {' '.join(include)}")
        return tuple(map(_pattern, paths))

    def check(self, layers: Sequence[PlannedLayer], manifest: Manifest) -> None:
        """Compare what was packed with what the hub lists; to be called before the artifact goes anywhere.

        Raises:
            IntegrityError: a file in the cache is damaged; the message names it.
        """
        expected = {
            self.folder / file.path: file.digest for file in self.selection.files if file.digest is not None
        }
        for layer, packed in zip(layers, manifest.layers, strict=True):
            if not isinstance(layer.content, Path):
                continue
            digest = expected.get(layer.content, packed.digest)
            if digest != packed.digest:
                raise IntegrityError(
                    f"{layer.content} is not what the hub lists",
                    expected=str(digest),
                    actual=str(packed.digest),
                    hint="delete it and repeat",
                )


def fetch_hub_model(
    workspace: Workspace,
    name: str,
    *,
    projector: bool = True,
    jobs: int | None = None,
    report: Report = silent,
) -> HubModel:
    """Download the model that `name` (`hf.co/ORG/REPO[:QUANTIZATION][@REVISION]`) means, all at one commit.

    What the cache of huggingface_hub has is not fetched again. Without `projector`, none goes with a model.

    Raises:
        UsageError: a malformed name, or several models could be meant; the message names them.
        NotFound, AccessDenied, RegistryUnavailable: of the hub.
        Unsupported: no weights that can be packed, or huggingface_hub is not installed.
        IntegrityError: the hub sends something else than it lists.
    """
    reference = parse_hub_reference(name, workspace.settings.references)
    client = _client()
    listing = client.list_files(reference)
    selection = select(listing, reference.wish, projector=projector)
    return _download(client, reference, listing, selection, jobs or workspace.settings.jobs, report)


def pull_hub_model(
    workspace: Workspace, name: str, *, jobs: int | None = None, report: Report = silent
) -> tuple[Reference, Manifest]:
    """Keep the model in the local store as `huggingface.co/ORG/REPO:QUANTIZATION` (or `:latest`).

    The same commit gives the same digest on every machine; one that is stored already is not fetched again.
    Raises as `fetch_hub_model`; InvalidArtifact for what `package` refuses too, such as code.
    """
    count = jobs or workspace.settings.jobs
    reference = parse_hub_reference(name, workspace.settings.references)
    local = reference.local_name(workspace.settings.references)
    client = _client()
    listing = client.list_files(reference)
    selection = select(listing, reference.wish)
    stored = _find_stored(workspace, local, listing, selection)
    if stored is not None:
        return local, stored
    told = _Told(report)
    model = _download(client, reference, listing, selection, count, told)
    wishes = model.wishes(Wishes())
    planned = with_created(PLANNERS[model.kind](model.source, wishes), format_ns(wishes.facts.mtime_ns))
    packed = pack(planned, WRITERS["docker"])
    model.check(planned.layers, packed.manifest)
    with workspace.store.operation() as layout:
        copy(packed, packed.ref, layout, str(local), jobs=count, report=told.rest)
    return local, packed.manifest


def _client() -> HubClient:
    try:
        from mrpack.hub.client import HubClient  # noqa: PLC0415  # huggingface_hub is an extra, and heavy
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("mrpack"):
            raise
        raise Unsupported(
            "Hugging Face repositories need the package huggingface_hub",
            hint="pip install 'mrpack[hub]'",
        ) from None
    return HubClient()


def _download(
    client: HubClient,
    reference: HubReference,
    listing: HubListing,
    selection: Selection,
    jobs: int,
    report: Report,
) -> HubModel:
    folder = client.download(listing, selection.files, jobs=jobs, report=report)
    return HubModel(reference=reference, listing=listing, selection=selection, folder=folder)


def _origin(listing: HubListing) -> dict[str, str]:
    repository = HubReference(repository=listing.repository)
    return {_SOURCE: repository.url, _REVISION: listing.revision}


def _find_stored(
    workspace: Workspace, local: Reference, listing: HubListing, selection: Selection
) -> Manifest | None:
    """What is stored under this name, when it was made of this commit, of these weights, and is complete."""
    store = workspace.store
    try:
        _, document = read_document(store.layout, store.find(str(local)).manifest)
    except NotFound:
        return None
    if not isinstance(document, Manifest) or not _has(document.annotations, _origin(listing)):
        return None
    layers = {layer.digest for layer in document.layers}
    weights = {file.digest for file in selection.files if file.digest is not None}
    complete = weights and weights <= layers and all(store.layout.exists(blob) for blob in document.blobs)
    return document if complete else None


def _has(annotations: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return wanted.items() <= annotations.items()


def _pattern(path: str) -> str:
    """The pattern of .gitignore that matches exactly this path."""
    return "/" + _SPECIAL_IN_PATTERNS.sub(r"\\\g<0>", path)


class _Told:
    """Passes the events of a download on; `rest` those of the copy into the store about other blobs."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told: set[Digest] = set()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Planned):
            self._told.update(blob.digest for blob in event.blobs)
        self._report(event)

    def rest(self, event: Event) -> None:
        if isinstance(event, Planned):
            self._report(Planned(tuple(blob for blob in event.blobs if self._is_new(blob))))
        elif isinstance(event, Worked | Counted) or self._is_new(event.blob):
            self._report(event)

    def _is_new(self, blob: Descriptor) -> bool:
        return blob.digest not in self._told

"""Verbs on one-file archives: export a local model, import what an archive holds."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mrpack.content.carrying import belonging_to
from mrpack.content.progress import Report, silent
from mrpack.digest import Digest
from mrpack.errors import UsageError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.reference import Reference
from mrpack.store.archive import ArchiveSource, OciArchive
from mrpack.store.archive_stream import Outline, Sink
from mrpack.store.entries import REF_NAME
from mrpack.targets import Origin, Place, full_name
from mrpack.verbs.transfer import Moved, move
from mrpack.workspace import Workspace

# containerd and `docker save` write the whole name here, and only the tag as the name of the reference.
_IMAGE_NAME: Final = "io.containerd.image.name"


def export_model(
    workspace: Workspace, model: str, file: Path, *, referrers: bool = False, report: Report = silent
) -> Moved:
    """Write a local model to `file` as an image layout in a tar; a file that is there is replaced at the end.

    The same model gives the same bytes. Raises NotFound: no such local model.
    """
    stored = workspace.store.find(model)
    name = str(stored.reference)
    with workspace.store.reading() as layout:
        return move(
            Origin(source=layout, ref=str(stored.manifest.digest), name=model, local=stored.reference),
            Place(target=OciArchive(file), ref=name, name=f"oci-archive:{file}:{name}"),
            jobs=workspace.settings.jobs,
            referrers=referrers,
            report=report,
        )


def stream_model(
    workspace: Workspace, model: str, sink: Sink, *, referrers: bool = False, report: Report = silent
) -> Digest:
    """As `export_model`, the same bytes, into a pipe: nothing is written to a disk, the store's own included.

    What is damaged is found on the way, and the archive ends before its index then.
    """
    stored = workspace.store.find(model)
    with workspace.store.reading() as layout:
        outline = Outline(layout)
        for item in belonging_to(layout, stored.manifest) if referrers else ():
            outline.add(item)
        outline.add(stored.manifest, str(stored.reference))
        outline.write(sink, report)
    return stored.manifest.digest


def import_models(
    workspace: Workspace,
    file: Path,
    name: str | None = None,
    *,
    called: str = "",
    referrers: bool = False,
    report: Report = silent,
) -> list[Moved]:
    """Bring everything in the archive into the local store under the names it has there, or one as `name`.

    Errors call it `called`, by default by its path.

    Raises:
        UsageError: without `name`, something has a mere tag; with it, several are there and none has it.
    """
    source = ArchiveSource(file, called)
    wanted = None if name is None else Reference.parse(name, workspace.settings.references)
    chosen = _named(source) if wanted is None else [(_one(source, wanted), wanted)]
    with workspace.store.operation() as layout:
        return [
            move(
                Origin(source=source, ref=str(entry.digest), name=source.name, local=reference),
                Place(target=layout, ref=str(reference), name=str(reference)),
                jobs=workspace.settings.jobs,
                referrers=referrers,
                report=report,
            )
            for entry, reference in chosen
        ]


def _named(source: ArchiveSource) -> list[tuple[Descriptor, Reference]]:
    # What belongs to another artifact comes with it or not at all.
    entries = [entry for entry in source.entries if REF_NAME in entry.annotations] or list(source.entries)
    found = []
    for entry in entries:
        reference = _name_of(entry)
        if reference is None:
            tag = entry.annotations.get(REF_NAME)
            raise UsageError(
                f"{source.name} does not say the full name of what is in it"
                + (f", only {tag!r}" if tag else ""),
                hint=f"give one: `mrpack import {source.name} NAME`",
            )
        found.append((entry, reference))
    if not found:
        raise UsageError(f"{source.name} holds nothing")
    return found


def _one(source: ArchiveSource, wanted: Reference) -> Descriptor:
    named = [entry for entry in source.entries if REF_NAME in entry.annotations]
    entries = named or list(source.entries)
    if len(entries) == 1:
        return entries[0]
    for entry in entries:
        if _name_of(entry) == wanted or entry.annotations.get(REF_NAME) == wanted.tag:
            return entry
    raise UsageError(
        f"{source.name} holds {len(entries)} artifacts, and none is {wanted}",
        hint=f"it has {', '.join(source.tags()[:5])}" if named else None,
    )


def _name_of(entry: Descriptor) -> Reference | None:
    annotations = entry.annotations
    return full_name(annotations.get(REF_NAME, "")) or full_name(annotations.get(_IMAGE_NAME, ""))

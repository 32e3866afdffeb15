"""Bringing a damaged layout back: wrong bytes out of the way, and the index again from what is sound."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mrpack.content.progress import Report, silent
from mrpack.digest import Digest, read_verified
from mrpack.errors import IntegrityError, InvalidArtifact, MrpackError, from_os_error
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import MANIFEST_LIMIT
from mrpack.oci.manifest import parse_unannounced
from mrpack.store.checkup import Damage, all_blobs, closure, find_problems
from mrpack.store.durable import make_folder, sync_folder
from mrpack.store.entries import REF_NAME
from mrpack.store.layout import OciLayout

# For models whose names are lost. No registry has this name.
_RECOVERED: Final = "localhost/recovered/{id}:latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What was done, or with a dry run would be.

    `rebuilt` says why the index was made again; empty when it was sound. `damaged` blobs lie in `folder` now.
    `recovered` are names given to models whose own are lost; `dropped` names whose manifest is gone;
    `incomplete` ones that need some blobs again.
    """

    folder: Path
    rebuilt: str
    damaged: tuple[Damage, ...]
    recovered: tuple[str, ...]
    dropped: tuple[str, ...]
    incomplete: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing had to be done."""
        return not (self.rebuilt or self.damaged or self.dropped or self.incomplete)

    def to_json(self) -> dict[str, Any]:
        """Stable keys."""
        return {
            "folder": str(self.folder),
            "rebuilt": self.rebuilt or None,
            "damaged": [
                {"digest": str(item.digest), "problem": item.problem, "references": list(item.references)}
                for item in self.damaged
            ],
            "recovered": list(self.recovered),
            "dropped": list(self.dropped),
            "incomplete": list(self.incomplete),
        }


def repair_layout(
    layout: OciLayout, *, dry_run: bool = False, jobs: int | None = None, report: Report = silent
) -> Repaired:
    """Hash everything, move what is wrong aside, and make the index name what is left.

    Raises:
        HostRefused: another process is writing; the disk failed.
    """
    folder = layout.root / "damaged"
    with layout.reading() if dry_run else layout.alone():
        blobs = all_blobs(layout)
        problems = find_problems(layout, blobs, jobs=jobs, report=report)
        known, rebuilt = _known_entries(layout)
        survey = _Survey(layout, known, {blob.digest for blob in blobs} - problems.keys())
        sound = [blob for blob in blobs if blob.digest not in problems]
        recovered = tuple(_unnamed(layout, sound, survey)) if rebuilt else ()
        if not dry_run:
            _move_aside(layout, folder, problems)
            layout.restore([*survey.kept, *recovered] if rebuilt or survey.dropped else None)
    return Repaired(
        folder=folder,
        rebuilt=rebuilt,
        damaged=tuple(
            Damage(digest=digest, problem=problem, references=tuple(survey.needing(digest)))
            for digest, problem in problems.items()
        ),
        recovered=tuple(_name(entry) for entry in recovered),
        dropped=tuple(_name(entry) for entry in survey.dropped),
        incomplete=tuple(_name(entry) for entry in survey.incomplete),
    )


class _Survey:
    """Which entries of an index still stand on something."""

    def __init__(self, layout: OciLayout, entries: Sequence[Descriptor], sound: Collection[Digest]) -> None:
        self.kept: list[Descriptor] = []
        self.dropped: list[Descriptor] = []
        self.incomplete: list[Descriptor] = []
        self._closures: dict[Digest, dict[Digest, Descriptor]] = {}
        for entry in entries:
            needed = _closure(layout, entry, sound)
            if needed is None:
                self.dropped.append(entry)
                continue
            self.kept.append(entry)
            self._closures[entry.digest] = needed
            if not needed.keys() <= set(sound):
                self.incomplete.append(entry)

    @property
    def covered(self) -> set[Digest]:
        return {digest for needed in self._closures.values() for digest in needed}

    def needing(self, digest: Digest) -> Iterator[str]:
        for entry in (*self.kept, *self.dropped):
            if digest == entry.digest or digest in self._closures.get(entry.digest, ()):
                yield _name(entry)


def _closure(
    layout: OciLayout, entry: Descriptor, sound: Collection[Digest]
) -> dict[Digest, Descriptor] | None:
    """None when a manifest is among what is missing: then nobody knows what else is."""
    if entry.digest not in sound:
        return None
    try:
        return closure(layout, entry.plain())
    except MrpackError:
        return None


def _known_entries(layout: OciLayout) -> tuple[tuple[Descriptor, ...], str]:
    """Of the index, else of its last copy; and what was wrong with the index."""
    try:
        return layout.index().manifests, ""
    except (IntegrityError, InvalidArtifact) as error:
        rebuilt = error.message
    with contextlib.suppress(MrpackError):
        last = layout.last_index()
        if last is not None:
            return last.manifests, rebuilt
    return (), rebuilt


def _unnamed(layout: OciLayout, blobs: Sequence[Descriptor], survey: _Survey) -> Iterator[Descriptor]:
    """Complete manifests that no entry leads to, under new names; an index stands for its children."""
    present = {blob.digest for blob in blobs}
    found: dict[Digest, tuple[Descriptor, set[Digest]]] = {}
    for blob in blobs:
        if blob.digest in survey.covered:
            continue
        entry = _as_entry(layout, blob)
        needed = entry and _closure(layout, entry, present)
        if entry and needed and needed.keys() <= present:
            found[blob.digest] = (entry, needed.keys() - {blob.digest})
    children = {digest for _, needed in found.values() for digest in needed}
    return (entry for digest, (entry, _) in found.items() if digest not in children)


def _as_entry(layout: OciLayout, blob: Descriptor) -> Descriptor | None:
    """None when the blob is no manifest. What refers to another manifest has no name in an index."""
    if blob.size > MANIFEST_LIMIT:
        return None
    with contextlib.suppress(MrpackError), contextlib.closing(layout.fetch(blob)) as stream:
        raw = read_verified(stream, blob.digest, blob.size, limit=MANIFEST_LIMIT)
        if not raw.startswith(b"{"):
            return None
        parsed = parse_unannounced(raw, "blob")
        entry = Descriptor(
            media_type=parsed.media_type,
            digest=blob.digest,
            size=blob.size,
            artifact_type=parsed.artifact_type,
        )
        if parsed.subject is not None:
            return entry
        return entry.with_annotations({REF_NAME: _RECOVERED.format(id=blob.digest.short)})
    return None


def _move_aside(layout: OciLayout, folder: Path, digests: Collection[Digest]) -> None:
    """Kept, not deleted: of a large file with one wrong bit the rest may still be of use."""
    if not digests:
        return
    try:
        make_folder(folder)
        for digest in digests:
            target = folder / f"{digest.algorithm}-{digest.hex}"
            if target.exists():
                target = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
            layout.blobs.path(digest).rename(target)
        sync_folder(folder)
    except OSError as error:
        raise from_os_error(error, "move damaged blobs aside") from error


def _name(entry: Descriptor) -> str:
    return entry.annotations.get(REF_NAME, str(entry.digest))

"""Reading an artifact that exists, to write it anew: its files, and the overrides it carries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mrpack.content.artifacts import from_whoever_is_right, read_model, read_small
from mrpack.content.ports import Source
from mrpack.formats.code import Finding, find_code
from mrpack.model.artifact import ModelArtifact
from mrpack.model.layer import ArtifactArchive, ArtifactFile, LayerRole
from mrpack.model.overrides import OVERRIDES_LIMIT, Origin, Overrides, parse_overrides, read_carried
from mrpack.oci.descriptor import Descriptor
from mrpack.packing.labels import labelled
from mrpack.packing.unpacked import UnpackedSource, complete, readable_files
from mrpack.store.unpacked import UnpackedArchives
from mrpack.verbs.code import find_stored_code, readable
from mrpack.verbs.scratch import scratch_folder
from mrpack.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """`content` has every file of `artifact` as a blob. `settings` are its own and other tools'.

    `code`: what its files would run. `notes` are for people: what is not carried over.
    """

    artifact: ModelArtifact
    settings: Overrides
    content: Source
    code: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def read_stored(workspace: Workspace, source: Source, manifest: Descriptor) -> Iterator[Stored]:
    """An artifact of any dialect; of weights only the first bytes are read, to see whether they are code.

    But for those in archives: these are unpacked, strictly, below the home, and gone with the bracket.

    Raises:
        InvalidArtifact, Unsupported, IntegrityError, HostRefused: as `unpack` in store/untar.py.
    """
    artifact = read_model(source, manifest)
    with contextlib.ExitStack() as held:
        content = source
        code = find_stored_code(source, artifact)
        if artifact.archives:
            archives = UnpackedArchives(held.enter_context(scratch_folder(workspace)))
            pairs = [pair for archive in artifact.archives for pair in _unpacked(archives, archive, source)]
            places = {file.descriptor.digest: path for file, path in pairs}
            artifact = complete(artifact.with_unpacked([file for file, _ in pairs]), places)
            content = UnpackedSource(source, places)
            code += find_code(readable_files(artifact.files, places))
        else:
            artifact = labelled(artifact, lambda file: readable(source, file))
        settings, notes = _settings(content, artifact)
        yield Stored(artifact=artifact, settings=settings, content=content, code=code, notes=notes)


def _unpacked(
    archives: UnpackedArchives, archive: ArtifactArchive, source: Source
) -> list[tuple[ArtifactFile, Path]]:
    """Wrong bytes are found while they are unpacked; what is there then is no file yet."""
    return from_whoever_is_right(source, archive.descriptor, lambda: archives.files(archive, source.fetch))


def _settings(source: Source, artifact: ModelArtifact) -> tuple[Overrides, tuple[str, ...]]:
    """Its own document alone, else those of other tools, known by types that a new manifest does not have.

    What model files say stays there.
    """
    documents = artifact.with_role(LayerRole.OVERRIDES)
    if documents:
        return parse_overrides(read_small(source, documents[0].descriptor, OVERRIDES_LIMIT)), ()
    carried = read_carried(
        artifact.files,
        artifact.settings,
        lambda file, limit: read_small(source, file.descriptor, limit),
        {Origin.OTHER_TOOL},
    )
    return carried.of(Origin.OTHER_TOOL), tuple(f"not taken over: {words}" for words in carried.ignored)

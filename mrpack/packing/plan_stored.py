"""The plan for `--from`: a stored artifact with other settings or other files beside its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from mrpack.errors import NotFound, UsageError
from mrpack.formats.code import Finding
from mrpack.model.annotations import FILEPATH, METADATA, UNTESTED, find_metadata
from mrpack.model.artifact import CODE, ModelArtifact
from mrpack.model.layer import ArtifactFile, FileMetadata, LayerRole, PlannedLayer
from mrpack.model.overrides import Overrides
from mrpack.model.roles import ROLE
from mrpack.packing.extras import extra_layers
from mrpack.packing.plan import NORMAL_MODE, FileFacts, Plan, Wishes, finish, refuse_context_size

# Of these an engine takes one, so a new one takes the place of the old.
_SINGLE: Final = frozenset({LayerRole.CHAT_TEMPLATE, LayerRole.MMPROJ})
# Formats that hold one of Diffusers.
_PIPELINES: Final = frozenset({"dduf", "diffusers"})


def plan_stored(
    artifact: ModelArtifact,
    settings: Overrides,
    wishes: Wishes,
    *,
    drop: Sequence[str] = (),
    code: Sequence[Finding] = (),
) -> Plan:
    """No weight is read: layers keep their digests, and config keys that we do not know survive.

    `settings` are the artifact's own overrides, on which those of `wishes` are laid. `drop` names files by
    path, or all of a role (`license`, `chat-template`, `mmproj`, `adapter`, `overrides` …). `code` was found
    in files that nobody had looked at; what the manifest names counts anyway.

    Raises:
        NotFound: nothing in the artifact is what `drop` names.
        UsageError: it names all weights; a context size for a pipeline; or as `extra_layers`.
    """
    if artifact.config.format in _PIPELINES:
        refuse_context_size(wishes)
    files = _without(artifact.files, drop)
    if drop and not any(file.role is LayerRole.WEIGHTS for file in files):
        raise UsageError("no weights would be left", hint="--drop the files beside them")
    if len(files) < len(artifact.files) and not any(file.role is LayerRole.OVERRIDES for file in files):
        settings = Overrides() if _carries_overrides(artifact) else settings
    added = extra_layers(wishes.extras, wishes.facts, beside=artifact.config.format)
    replaced = {layer.role for layer in added} & _SINGLE
    paths = {layer.path for layer in added}
    has_weights = any(file.format for file in files if file.role is LayerRole.WEIGHTS)
    kept = [
        _stored_layer(file, wishes.facts, has_weights=has_weights)
        for file in files
        if file.role not in replaced | {LayerRole.OVERRIDES} and file.path not in paths
    ]
    wishes = replace(
        wishes,
        overrides=settings.with_settings(wishes.overrides),
        annotations={
            **{key: value for key, value in artifact.manifest.annotations.items() if key != CODE},
            **wishes.annotations,
        },
    )
    found = (finding.path for finding in code)
    gone = {file.path for file in artifact.files} - {layer.path for layer in kept}
    carried = tuple(path for path in dict.fromkeys((*artifact.named_code, *found)) if path not in gone)
    return finish(artifact.config, [*kept, *added], wishes, folder=artifact.folder, code=carried)


def _carries_overrides(artifact: ModelArtifact) -> bool:
    return any(file.role is LayerRole.OVERRIDES for file in artifact.files)


def _without(files: Sequence[ArtifactFile], drop: Sequence[str]) -> list[ArtifactFile]:
    for name in drop:
        if not any(name in (file.path, file.role.value) for file in files):
            there = ", ".join(file.path for file in files)
            raise NotFound(f"the artifact has no file or role {name!r}", hint=f"it has {there[:300]}")
    return [file for file in files if not {file.path, file.role.value} & set(drop)]


def _stored_layer(file: ArtifactFile, facts: FileFacts, *, has_weights: bool) -> PlannedLayer:
    """Annotations that describe the file are written anew, the others stay."""
    is_company = has_weights and file.role is LayerRole.WEIGHTS and not file.format
    known = {FILEPATH, METADATA, UNTESTED, ROLE}
    others = {key: value for key, value in file.descriptor.annotations.items() if key not in known}
    return PlannedLayer(
        path=file.path,
        role=LayerRole.OTHER if is_company else file.role,
        format=file.format,
        content=file.descriptor.plain().with_annotations(others),
        metadata=find_metadata(file.descriptor, file.path) or _plain_metadata(file, facts),
    )


def _plain_metadata(file: ArtifactFile, facts: FileFacts) -> FileMetadata:
    name = file.path.rpartition("/")[2]
    return FileMetadata(name=name, mode=NORMAL_MODE, mtime_ns=facts.mtime_ns, size=file.descriptor.size)

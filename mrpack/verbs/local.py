"""Verbs on the names of the local store: list, tag, remove, resolve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mrpack.errors import NotFound, StoreBusy, UsageError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.reference import Reference
from mrpack.store.names import StoredModel
from mrpack.store.summaries import Summary
from mrpack.workspace import Workspace

if TYPE_CHECKING:
    from mrpack.store.bundle import Bundle
    from mrpack.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A local model; `summary` is None, and `problem` says why, when its artifact cannot be read."""

    reference: Reference
    manifest: Descriptor
    summary: Summary | None
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Stable keys; labels as the artifact carries them, null where it says nothing."""
        summary = self.summary
        return {
            "reference": str(self.reference),
            "digest": str(self.manifest.digest),
            "format": summary.format if summary else None,
            "parameters": (summary.parameters or None) if summary else None,
            "quantization": (summary.quantization or None) if summary else None,
            "architecture": (summary.architecture or None) if summary else None,
            "context_size": summary.context_size if summary else None,
            "created": (summary.created or None) if summary else None,
            "size": summary.size if summary else 0,
            "problem": self.problem or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """`freed` bytes; None when the space could not be freed now because the store is in use."""

    models: tuple[StoredModel, ...]
    freed: int | None


def list_models(workspace: Workspace) -> list[ListedModel]:
    """Every local reference, sorted; a damaged model is listed with its problem."""
    models = workspace.store.models()
    summaries = workspace.store.summaries(models)
    listed = []
    for model in models:
        found = summaries[model.manifest.digest]
        summary, problem = (found, "") if isinstance(found, Summary) else (None, found.message)
        listed.append(
            ListedModel(reference=model.reference, manifest=model.manifest, summary=summary, problem=problem)
        )
    return listed


def tag(workspace: Workspace, model: str, new: str) -> StoredModel:
    """Raises NotFound, UsageError."""
    reference = Reference.parse(new, workspace.settings.references)
    return workspace.store.tag(model, reference)


def remove(workspace: Workspace, models: Sequence[str], *, keep_blobs: bool = False) -> Removed:
    """Take names away, all or none of them, then free what nothing names any more.

    Raises:
        NotFound, UsageError: one of the names fits no model or several, or means one by what several names
            share, as its id; nothing was removed.
    """
    store = workspace.store
    try:
        found = tuple(_one_name(store, name) for name in models)
    except NotFound as error:
        error.hint = "nothing was removed; `mrpack list` shows what is here"
        raise
    for model in found:
        store.remove(model)
    freed: int | None = 0
    if not keep_blobs:
        try:
            freed = store.collect().freed
        except StoreBusy:
            freed = None
    return Removed(models=found, freed=freed)


def _one_name(store: Store, name: str) -> StoredModel:
    found = store.find_names(name)
    if len(found) > 1:
        names = ", ".join(model.reference.familiar(store.defaults) for model in found)
        raise UsageError(
            f"{name!r} has {len(found)} names: {names}", hint="nothing was removed; give those that are to go"
        )
    return found[0]


def resolve(workspace: Workspace, model: str) -> Bundle:
    """The model as files; raises NotFound, IntegrityError, InvalidArtifact."""
    store = workspace.store
    return store.bundle(store.find(model).manifest)

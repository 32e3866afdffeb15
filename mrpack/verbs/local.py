"""Verbs on the local store: list, tag, remove, resolve, verify."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mrpack.errors import MrpackError, StoreBusy
from mrpack.model.config import ModelConfig
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.reference import Reference
from mrpack.store.bundle import Bundle
from mrpack.store.checkup import Damage
from mrpack.store.names import StoredModel
from mrpack.store.repair import Repaired
from mrpack.store.store import Store
from mrpack.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A local model; `config` is None, and `problem` says why, when its artifact cannot be read.

    `size`: bytes of all its files.
    """

    reference: Reference
    manifest: Descriptor
    config: ModelConfig | None
    size: int
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Stable keys; labels as the artifact carries them, null where it says nothing."""
        config = self.config
        return {
            "reference": str(self.reference),
            "digest": str(self.manifest.digest),
            "format": config.format if config else None,
            "parameters": (config.parameters or None) if config else None,
            "quantization": (config.quantization or None) if config else None,
            "architecture": (config.architecture or None) if config else None,
            "context_size": config.context_size if config else None,
            "created": (config.created or None) if config else None,
            "size": self.size,
            "problem": self.problem or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """`freed` bytes; None when the space could not be freed now because the store is in use."""

    models: tuple[StoredModel, ...]
    freed: int | None


def list_models(workspace: Workspace) -> list[ListedModel]:
    """Every local reference, sorted; a damaged model is listed with its problem."""
    store = workspace.store
    listed = []
    for model in store.models():
        try:
            artifact = store.artifact(model.manifest)
        except MrpackError as error:
            listed.append(
                ListedModel(
                    reference=model.reference,
                    manifest=model.manifest,
                    config=None,
                    size=0,
                    problem=error.message,
                )
            )
        else:
            listed.append(
                ListedModel(
                    reference=model.reference,
                    manifest=model.manifest,
                    config=artifact.config,
                    size=sum(file.descriptor.size for file in artifact.files),
                )
            )
    return listed


def tag(workspace: Workspace, model: str, new: str) -> StoredModel:
    """Raises NotFound, UsageError."""
    reference = Reference.parse(new, workspace.settings.references)
    return workspace.store.tag(model, reference)


def remove(workspace: Workspace, models: Sequence[str], *, keep_blobs: bool = False) -> Removed:
    """Take names away, all or none of them, then free what nothing names any more.

    Raises:
        NotFound, UsageError: one of the names fits no model or several; nothing was removed.
    """
    store = workspace.store
    found = tuple(store.find(name) for name in models)
    for model in found:
        store.remove(model)
    freed: int | None = 0
    if not keep_blobs:
        try:
            freed = store.collect().freed
        except StoreBusy:
            freed = None
    return Removed(models=found, freed=freed)


def resolve(workspace: Workspace, model: str) -> Bundle:
    """The model as files; raises NotFound, IntegrityError, InvalidArtifact."""
    store = workspace.store
    return store.bundle(store.find(model).manifest)


def verify(
    workspace: Workspace, models: Sequence[str], *, jobs: int | None = None
) -> tuple[int, list[Damage]]:
    """How many models were checked, and what is damaged; when none is named, of all that is in the store.

    `jobs`: blobs hashed at once, by default one a processor.
    """
    store = workspace.store
    if not models:
        return len(store.models()), store.verify(jobs=jobs)
    wanted = [store.find(name) for name in models]
    return len(wanted), store.verify(wanted, jobs=jobs)


def repair(workspace: Workspace, *, dry_run: bool = False, jobs: int | None = None) -> Repaired:
    """Move damaged blobs aside, and make the index again when it is lost or broken; see `Repaired`.

    Raises:
        NotFound: there is no store.
        StoreBusy: another mrpack is writing to it.
    """
    settings = workspace.settings
    return Store(settings.home, settings.references, lenient=True).repair(dry_run=dry_run, jobs=jobs)

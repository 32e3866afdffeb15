"""The local store as the gateway's shelf: the verbs of mrpack, one call each."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from mrpack.content.progress import Report
from mrpack.verbs.archive import export_model, import_models
from mrpack.verbs.local import remove, tag
from mrpack.verbs.scratch import scratch_file
from mrpack.verbs.transfer import pull, push
from mrpack.workspace import Workspace
from mrpack_runtime.models.shelf import Dropped


class StoreShelf:
    """A ModelShelf over one workspace. Thread-safe, as the store is."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def pull(self, name: str, report: Report) -> str:
        return pull(self._workspace, name, report=report).name

    def push(self, name: str, report: Report) -> str:
        return str(push(self._workspace, name, report=report).digest)

    def tag(self, name: str, new: str) -> str:
        return str(tag(self._workspace, name, new).reference)

    def remove(self, name: str) -> Dropped:
        gone = remove(self._workspace, [name]).models
        left = {model.manifest.digest for model in self._workspace.store.models()}
        return Dropped(
            untagged=tuple(str(model.reference) for model in gone),
            deleted=tuple(str(model.manifest.digest) for model in gone if model.manifest.digest not in left),
        )

    def free(self) -> int:
        return self._workspace.store.collect().freed

    def load(self, archive: Path, report: Report) -> tuple[str, ...]:
        return tuple(moved.name for moved in import_models(self._workspace, archive, report=report))

    def export(self, name: str, archive: Path) -> None:
        export_model(self._workspace, name, archive)

    def scratch(self) -> AbstractContextManager[Path]:
        return scratch_file(self._workspace, ".tar")

"""The local store as the gateway's library of models."""

from __future__ import annotations

from collections.abc import Hashable

from mrpack.errors import MrpackError
from mrpack.model.layer import ArtifactFile, LayerRole
from mrpack.model.overrides import Imported, Origin, read_carried
from mrpack.model.timestamp import parse_rfc3339
from mrpack.readable import open_file
from mrpack.store.bundle import Bundle
from mrpack.store.names import StoredModel
from mrpack.verbs.transfer import pull
from mrpack.workspace import Workspace
from mrpack_runtime.engine import ModelBundle
from mrpack_runtime.library import LibraryEntry


class StoreLibrary:
    """A PullingLibrary over one workspace. Thread-safe, as the store is."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def find(self, name: str) -> ModelBundle:
        store = self._workspace.store
        model = store.find(name)
        name = model.reference.familiar(store.defaults)
        return _model_bundle(name, model, store.bundle(model.manifest))

    def list(self) -> tuple[LibraryEntry, ...]:
        """Models whose artifact cannot be read are left out; `mrpack list` names them."""
        store = self._workspace.store
        names: dict[str, list[StoredModel]] = {}
        for model in store.models():
            names.setdefault(str(model.manifest.digest), []).append(model)
        entries = []
        for models in names.values():
            try:
                artifact = store.artifact(models[0].manifest)
            except MrpackError:
                continue
            entries.append(
                LibraryEntry(
                    names=tuple(model.reference.familiar(store.defaults) for model in models),
                    digest=models[0].manifest.digest,
                    config=artifact.config,
                    created=_seconds(artifact.config.created),
                    size=sum(layer.size for layer in artifact.manifest.layers),
                )
            )
        return tuple(entries)

    def stamp(self) -> Hashable:
        try:
            status = (self._workspace.store.layout.root / "index.json").stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def pull(self, name: str) -> None:
        pull(self._workspace, name)


def _model_bundle(name: str, model: StoredModel, bundle: Bundle) -> ModelBundle:
    mmproj = bundle.paths(LayerRole.MMPROJ)
    templates = bundle.paths(LayerRole.CHAT_TEMPLATE)
    return ModelBundle(
        name=name,
        digest=model.manifest.digest,
        config=bundle.artifact.config,
        folder=bundle.folder,
        weights=bundle.paths(LayerRole.WEIGHTS),
        mmproj=mmproj[0] if mmproj else None,
        chat_template=templates[0] if templates else None,
        adapters=bundle.paths(LayerRole.ADAPTER),
        imported=_imported(bundle),
    )


def _imported(bundle: Bundle) -> Imported:
    def read(file: ArtifactFile, limit: int) -> bytes:
        return open_file(bundle.folder / file.path, file.path).read(limit=limit)

    artifact = bundle.artifact
    carried = read_carried(artifact.files, artifact.settings, read, {Origin.OTHER_TOOL})
    return Imported(carried.of(Origin.OTHER_TOOL), carried.ignored)


def _seconds(created: str) -> int:
    """Unix time; 0 when the artifact does not say."""
    return parse_rfc3339(created) // 1_000_000_000 if created else 0

"""The local store as the gateway's library of models."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from mrpack.content.artifacts import read_small
from mrpack.digest import Digest
from mrpack.errors import MrpackError
from mrpack.model.config import ModelConfig
from mrpack.model.layer import ArtifactFile, LayerRole
from mrpack.model.overrides import Imported, Origin, read_carried
from mrpack.model.timestamp import parse_rfc3339
from mrpack.oci.descriptor import Descriptor
from mrpack.readable import open_file
from mrpack.store.bundle import Bundle
from mrpack.store.names import StoredModel
from mrpack.store.store import Store
from mrpack.verbs.transfer import pull
from mrpack.workspace import Workspace
from mrpack_runtime.engine import ModelBundle
from mrpack_runtime.models.library import LibraryEntry
from mrpack_runtime.models.sight import sees

# Of keys such as `llama.context_length`.
_CONTEXT_LENGTH: Final = ".context_length"


@dataclass(frozen=True, slots=True)
class _Facts:
    """What lists show of an artifact, which never changes."""

    config: ModelConfig
    size: int
    mode: str | None
    sees: bool


class StoreLibrary:
    """A PullingLibrary over one workspace. Thread-safe, as the store is."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._facts: Mapping[Digest, _Facts] = {}

    def find(self, name: str) -> ModelBundle:
        store = self._workspace.store
        model = store.find(name)
        name = model.reference.familiar(store.defaults)
        return _model_bundle(name, model, store.bundle(model.manifest))

    def list(self) -> tuple[LibraryEntry, ...]:
        """Models whose artifact cannot be read are left out; `mrpack list` names them."""
        store = self._workspace.store
        named: dict[Digest, list[StoredModel]] = {}
        for model in store.models():
            named.setdefault(model.manifest.digest, []).append(model)
        known, facts = self._facts, {}
        for digest, models in named.items():
            with suppress(MrpackError):
                facts[digest] = known.get(digest) or _read_facts(store, models[0].manifest)
        self._facts = facts
        return tuple(
            LibraryEntry(
                names=tuple(model.reference.familiar(store.defaults) for model in named[digest]),
                digest=digest,
                config=found.config,
                created=_seconds(found.config.created),
                size=found.size,
                mode=found.mode,
                sees=found.sees,
            )
            for digest, found in facts.items()
        )

    def metadata(self, digest: Digest) -> Mapping[str, str]:
        store = self._workspace.store
        return store.artifact(store.find(str(digest)).manifest).config.metadata

    def stamp(self) -> Hashable:
        try:
            status = (self._workspace.store.layout.root / "index.json").stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def pull(self, name: str) -> None:
        pull(self._workspace, name)


def _read_facts(store: Store, manifest: Descriptor) -> _Facts:
    artifact = store.artifact(manifest)
    config = artifact.config
    lengths = {name: value for name, value in config.metadata.items() if name.endswith(_CONTEXT_LENGTH)}

    def read(file: ArtifactFile, limit: int) -> bytes:
        return read_small(store.layout, file.descriptor, limit)

    mode, vision = None, False
    with suppress(MrpackError):  # whoever runs it is told
        carried = read_carried(artifact.files, None, read, {Origin.ARTIFACT}).of(Origin.ARTIFACT)
        mode = carried.values.get("mode")
        vision = sees(artifact, read)
    return _Facts(
        config=replace(config, metadata=lengths),
        size=sum(layer.size for layer in artifact.manifest.layers),
        mode=mode,
        sees=vision,
    )


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

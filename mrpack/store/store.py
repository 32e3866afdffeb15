"""The local store: an OCI layout of models under full references, with bundles beside it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mrpack.content.copy import read_document
from mrpack.digest import BUFFER_SIZE, Digest, VerifyingReader, read_verified
from mrpack.errors import InvalidArtifact, MrpackError, from_os_error
from mrpack.model.artifact import ModelArtifact
from mrpack.model.dialects import read_artifact
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import CONFIG_LIMIT, decode_object, encode
from mrpack.oci.manifest import Index, Manifest
from mrpack.oci.reference import Reference, ReferenceDefaults
from mrpack.store.bundle import Bundle, build_bundle
from mrpack.store.durable import write_atomic
from mrpack.store.layout import REF_NAME, OciLayout
from mrpack.store.names import StoredModel, find_model

STORE_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A blob that is not what its name says, or is missing, and the references that need it."""

    digest: Digest
    problem: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """All in bytes. `reclaimable` is what `gc` would free."""

    blobs: int
    models: int
    reclaimable: int
    partial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """`digests` that were (or with a dry run would be) removed, `freed` bytes in all."""

    digests: tuple[Digest, ...]
    freed: int


class Store:
    """Models of one user. `home` is created on the first write; reading works on a read-only disk."""

    def __init__(self, home: Path, defaults: ReferenceDefaults | None = None) -> None:
        self.home = home
        self.defaults = defaults or ReferenceDefaults()
        self.layout = OciLayout(home / "store")
        self._check_version()

    def _check_version(self) -> None:
        path = self.layout.root / "mrpack-store.json"
        try:
            version = decode_object(path.read_bytes(), str(path)).get("version")
        except FileNotFoundError:
            return
        except OSError as error:
            raise from_os_error(error, f"open {self.layout.root}") from error
        if version != STORE_VERSION:
            raise InvalidArtifact(
                f"store version {version!r}; this mrpack knows {STORE_VERSION}",
                where=str(path),
                hint="upgrade mrpack, or set MRPACK_HOME to another folder",
            )

    @contextlib.contextmanager
    def operation(self) -> Iterator[OciLayout]:
        """The layout to write to; nothing that is written is collected until the bracket closes."""
        with self.layout.operation():
            note = self.layout.root / "mrpack-store.json"
            if not note.exists():
                try:
                    write_atomic(note, encode({"version": STORE_VERSION}))
                except OSError as error:
                    raise from_os_error(error, "prepare store") from error
            yield self.layout

    # Names.

    def models(self) -> list[StoredModel]:
        """Every reference, sorted; entries that other tools wrote under other names are left out."""
        found = []
        for entry in self.layout.index().manifests:
            name = entry.annotations.get(REF_NAME)
            if name is None:
                continue
            with contextlib.suppress(MrpackError):
                found.append(StoredModel(reference=Reference.parse(name), manifest=entry.plain()))
        return sorted(found, key=lambda model: str(model.reference))

    def find(self, name: str) -> StoredModel:
        """Raises NotFound, or UsageError when `name` is ambiguous or malformed."""
        return find_model(self.models(), name, self.defaults)

    def tag(self, name: str, new: Reference) -> StoredModel:
        model = self.find(name)
        with self.operation() as layout:
            layout.tag(model.manifest, str(new))
        return StoredModel(reference=new, manifest=model.manifest)

    def remove(self, model: StoredModel) -> None:
        """Take the reference away; `gc` frees what nothing names any more."""
        self.layout.untag(str(model.reference))

    # Content.

    def artifact(self, manifest: Descriptor) -> ModelArtifact:
        """Raises InvalidArtifact, IntegrityError, Unsupported (not a model, or an index of several)."""
        _, document = read_document(self.layout, manifest)
        if isinstance(document, Index):
            raise InvalidArtifact("is an index of several artifacts", where=str(manifest.digest))
        return read_artifact(document, self.config_bytes(document))

    def config_bytes(self, manifest: Manifest) -> bytes:
        stream = self.layout.fetch(manifest.config)
        try:
            return read_verified(
                stream, manifest.config.digest, manifest.config.size, limit=CONFIG_LIMIT, name="config"
            )
        finally:
            stream.close()

    def bundle(self, manifest: Descriptor) -> Bundle:
        """The model as files, built on first use.

        Raises:
            NotFound, IntegrityError: a blob is missing or was changed.
        """
        artifact = self.artifact(manifest)
        folder = self.home / "bundles" / f"{manifest.digest.algorithm}-{manifest.digest.hex}"
        with contextlib.suppress(MrpackError):
            self.layout.prepare()
        return build_bundle(folder, artifact, self._sound_blob)

    def _sound_blob(self, descriptor: Descriptor) -> Path:
        self.layout.blobs.open(descriptor.digest, descriptor.size).close()
        return self.layout.blobs.path(descriptor.digest)

    def closure(self, manifest: Descriptor) -> dict[Digest, Descriptor]:
        """The manifest and all that it names, through indexes. Raises when one of them cannot be read."""
        found = {manifest.digest: manifest}
        _, document = read_document(self.layout, manifest)
        if isinstance(document, Index):
            for child in document.manifests:
                found.update(self.closure(child))
        else:
            found.update((blob.digest, blob) for blob in document.blobs)
        return found

    # Care.

    def verify(self, models: list[StoredModel], *, jobs: int = 2) -> list[Damage]:
        """Hash every blob the models need, each once; memory does not grow with their size."""
        needed: dict[Digest, Descriptor] = {}
        names: dict[Digest, list[str]] = {}
        for model in models:
            try:
                closure = self.closure(model.manifest)
            except MrpackError:
                closure = {model.manifest.digest: model.manifest}
            for digest, descriptor in closure.items():
                needed[digest] = descriptor
                names.setdefault(digest, []).append(str(model.reference))
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            problems = pool.map(self._problem, needed.values())
        return [
            Damage(digest=digest, problem=problem, references=tuple(names[digest]))
            for digest, problem in zip(needed, problems, strict=True)
            if problem is not None
        ]

    def _problem(self, descriptor: Descriptor) -> str | None:
        try:
            with contextlib.closing(self.layout.fetch(descriptor)) as stream:
                reader = VerifyingReader(stream, descriptor.digest, descriptor.size)
                buffer = memoryview(bytearray(BUFFER_SIZE))
                while reader.readinto(buffer):
                    pass
        except MrpackError as error:
            return error.message
        except OSError as error:
            return from_os_error(error, "read").message
        return None

    def usage(self) -> Usage:
        live = self._live()
        present = list(self.layout.blobs.digests())
        return Usage(
            blobs=sum(status.st_size for _, status in present),
            models=len({model.manifest.digest for model in self.models()}),
            reclaimable=sum(status.st_size for digest, status in present if digest not in live),
            partial=sum(path.stat().st_size for path in self.layout.blobs.leftovers()),
        )

    def _live(self) -> set[Digest]:
        """Raises when a manifest cannot be read: what it names must not be taken for garbage."""
        live: set[Digest] = set()
        for entry in self.layout.index().manifests:
            live.update(self.closure(entry.plain()))
        return live

    def collect(self, *, dry_run: bool = False) -> Collected:
        """Remove what no reference needs: blobs, parts of dead operations, bundles.

        Raises HostRefused while another process writes to the store.
        """
        with self.layout.collecting():
            live = self._live()
            dead = [(digest, status) for digest, status in self.layout.blobs.digests() if digest not in live]
            parts = [(path, path.stat().st_size) for path in self.layout.blobs.leftovers()]
            freed = sum(status.st_size for _, status in dead) + sum(size for _, size in parts)
            if not dry_run:
                for digest, _ in dead:
                    self.layout.blobs.remove(digest)
                for path, _ in parts:
                    path.unlink(missing_ok=True)
                self._drop_bundles(live)
        return Collected(digests=tuple(digest for digest, _ in dead), freed=freed)

    def _drop_bundles(self, live: set[Digest]) -> None:
        folder = self.home / "bundles"
        if not folder.is_dir():
            return
        names = {f"{digest.algorithm}-{digest.hex}" for digest in live}
        for bundle in folder.iterdir():
            if bundle.name not in names:
                shutil.rmtree(bundle, ignore_errors=True)

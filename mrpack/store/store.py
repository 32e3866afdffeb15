"""The local store: an OCI layout of models under full references, with bundles beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mrpack.content.artifacts import read_model
from mrpack.content.documents import read_document
from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, MrpackError, NotFound, from_os_error
from mrpack.model.artifact import ModelArtifact
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import decode_object, encode
from mrpack.oci.reference import Reference, ReferenceDefaults
from mrpack.store.bundle import Bundle, build_bundle
from mrpack.store.checkup import Damage, all_blobs, closure, find_problems
from mrpack.store.durable import read_plain, write_atomic
from mrpack.store.layout import REF_NAME, OciLayout
from mrpack.store.names import StoredModel, find_model
from mrpack.store.summaries import Summaries, Summary
from mrpack.store.unpacked import UnpackedArchives

if TYPE_CHECKING:
    from mrpack.store.repair import Repaired

STORE_VERSION: Final = 1
_VERSION_LIMIT: Final = 64 * 1024


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

    def __init__(
        self,
        home: Path,
        defaults: ReferenceDefaults | None = None,
        *,
        cache: Path | None = None,
        lenient: bool = False,
    ) -> None:
        """`lenient`, for `repair`: takes a store whose own small files are broken.

        `cache`: for what engines open, when this user cannot write to `home`.
        """
        self.home = home
        self.defaults = defaults or ReferenceDefaults()
        self.layout = OciLayout(home / "store", lenient=lenient)
        # One on a read-only disk, or another user's.
        self._is_foreign = cache is not None and home.is_dir() and not os.access(home, os.W_OK)
        self._made = cache if cache is not None and self._is_foreign else home
        self._unpacked = UnpackedArchives(self._made / "unpacked")
        self._summaries = Summaries(self.layout)
        self._version_path = self.layout.root / "mrpack-store.json"
        self._check_version(lenient=lenient)

    def _check_version(self, *, lenient: bool = False) -> bool:
        """False when there is no store yet. Raises InvalidArtifact for one that a newer mrpack made."""
        try:
            version = decode_object(read_plain(self._version_path, _VERSION_LIMIT), "version").get("version")
        except FileNotFoundError:
            return False
        except OSError as error:
            raise from_os_error(error, f"open {self.layout.root}") from error
        except InvalidArtifact as error:
            if lenient:
                return False
            raise InvalidArtifact(error.message, hint="`mrpack repair` writes it again") from None
        if version != STORE_VERSION:
            raise InvalidArtifact(
                f"store version {version!r}; this mrpack knows {STORE_VERSION}",
                where=str(self._version_path),
                hint="upgrade mrpack, or set MRPACK_HOME to another folder",
            )
        return True

    @contextlib.contextmanager
    def operation(self) -> Iterator[OciLayout]:
        """The layout to write to; nothing that is written is collected until the bracket closes."""
        with self.layout.operation():
            # Looked at again: a server runs for months, and another mrpack may have upgraded the store.
            if not self._check_version():
                self._note_version()
            yield self.layout

    def _note_version(self) -> None:
        try:
            note = encode({"version": STORE_VERSION})
            write_atomic(self._version_path, note, ingest=self.layout.blobs.ingest_folder)
        except OSError as error:
            raise from_os_error(error, "prepare store") from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[OciLayout]:
        """The layout to read from for long: nothing is collected meanwhile. Works on a read-only disk too."""
        with self.layout.reading():
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

    def has(self, name: str) -> bool:
        """Whether `find` finds it."""
        try:
            self.find(name)
        except MrpackError:
            return False
        return True

    def tag(self, name: str, new: Reference) -> StoredModel:
        self.find(name)
        with self.operation() as layout:
            # Once more, now that nothing is collected: `rm` may have come between.
            model = self.find(name)
            layout.tag(model.manifest, str(new))
        return StoredModel(reference=new, manifest=model.manifest)

    def remove(self, model: StoredModel) -> None:
        """Take the reference away; `gc` frees what nothing names any more."""
        self.layout.untag(str(model.reference))

    # Content.

    def artifact(self, manifest: Descriptor) -> ModelArtifact:
        """Raises InvalidArtifact, IntegrityError, Unsupported (not a model, or an index of several)."""
        return read_model(self.layout, manifest)

    def summaries(self, models: Iterable[StoredModel]) -> dict[Digest, Summary | MrpackError]:
        """What lists show of each manifest, or why it cannot be read. Does not notice a change of bytes."""
        return self._summaries.of(model.manifest for model in models)

    def bundle(self, manifest: Descriptor) -> Bundle:
        """The model as files, built on first use; what lies in archives is unpacked.

        Raises:
            NotFound, IntegrityError: a blob is missing or was changed.
        """
        artifact = self.artifact(manifest)
        folder = self.bundle_folder(manifest.digest)
        with self.reading():
            unpacked = [
                pair
                for archive in artifact.archives
                for pair in self._unpacked.files(archive, self.layout.fetch)
            ]
            if artifact.archives:
                artifact = artifact.with_unpacked([file for file, _ in unpacked])
            places = {file.descriptor.digest: path for file, path in unpacked}
            if self._is_foreign and not folder.is_dir():
                folder = self._made / "bundles" / folder.name
            return build_bundle(
                folder,
                artifact,
                lambda blob: places.get(blob.digest) or self._sound_blob(blob),
                symbolic=self._is_foreign,
            )

    def bundle_folder(self, manifest: Digest) -> Path:
        return self.home / "bundles" / f"{manifest.algorithm}-{manifest.hex}"

    def _sound_blob(self, descriptor: Descriptor) -> Path:
        self.layout.blobs.open(descriptor.digest, descriptor.size).close()
        return self.layout.blobs.path(descriptor.digest)

    # Care.

    def verify(self, models: list[StoredModel] | None = None, *, jobs: int | None = None) -> list[Damage]:
        """Hash what the models need, or all there is; each blob once, several at a time, in constant memory.

        Also a blob that nothing needs has to be right: the next `pull` may count on it.
        """
        needed: dict[Digest, Descriptor] = {}
        names: dict[Digest, list[str]] = {}
        for model in self.models() if models is None else models:
            try:
                wanted = closure(self.layout, model.manifest)
            except MrpackError:
                wanted = {model.manifest.digest: model.manifest}
            for digest, descriptor in wanted.items():
                needed[digest] = descriptor
                names.setdefault(digest, []).append(str(model.reference))
        if models is None:
            for blob in all_blobs(self.layout):
                needed.setdefault(blob.digest, blob)
        return [
            Damage(digest=digest, problem=problem, references=tuple(names.get(digest, ())))
            for digest, problem in find_problems(self.layout, needed.values(), jobs=jobs).items()
        ]

    def repair(self, *, dry_run: bool = False, jobs: int | None = None) -> Repaired:
        """As `repair_layout`. Open the store with `lenient` for it. Raises NotFound when there is none."""
        from mrpack.store.repair import repair_layout  # noqa: PLC0415  # rarely needed

        if not self.layout.root.is_dir():
            raise NotFound(f"no store in {self.home}")
        repaired = repair_layout(self.layout, dry_run=dry_run, jobs=jobs)
        if not dry_run:
            self._note_version()
        return repaired

    def usage(self) -> Usage:
        live = self._live()
        present = all_blobs(self.layout)
        try:
            partial = sum(size for _, size in self.layout.blobs.leftovers())
        except OSError as error:
            raise from_os_error(error, "list partial downloads") from error
        return Usage(
            blobs=sum(blob.size for blob in present),
            models=len({model.manifest.digest for model in self.models()}),
            reclaimable=sum(blob.size for blob in present if blob.digest not in live),
            partial=partial,
        )

    def _live(self) -> set[Digest]:
        """Raises when a manifest cannot be read: what it names must not be taken for garbage."""
        live: set[Digest] = set()
        waiting: list[tuple[Digest, Descriptor]] = []
        for entry in self.layout.entries:
            subject = None if REF_NAME in entry.annotations else read_document(self.layout, entry)[1].subject
            # One that came before its subject waits for it.
            if subject is None or not self.layout.exists(subject):
                live.update(closure(self.layout, entry.plain()))
            else:
                waiting.append((subject.digest, entry.plain()))
        # A signature of a report of a model: each lives by the one before.
        while found := [item for item in waiting if item[0] in live]:
            waiting = [item for item in waiting if item[0] not in live]
            for _, entry in found:
                live.update(closure(self.layout, entry))
        return live

    def collect(self, *, dry_run: bool = False) -> Collected:
        """Remove what no reference needs: blobs, parts of dead operations, bundles.

        What belongs to a manifest (`subject`) and has no name lives as long as that; its entry goes with it.

        Raises StoreBusy while another process writes to the store.
        """
        if not self.layout.root.is_dir():
            return Collected(digests=(), freed=0)
        with self.reading() if dry_run else self.layout.collecting():
            live = self._live()
            if not dry_run:
                self.layout.keep_entries(live)
            dead = [blob for blob in all_blobs(self.layout) if blob.digest not in live]
            freed = sum(blob.size for blob in dead)
            try:
                freed += sum(size for _, size in self.layout.blobs.leftovers())
                if not dry_run:
                    for blob in dead:
                        self.layout.blobs.remove(blob.digest)
                    self.layout.drop_leftovers()
                    self._drop_bundles(live)
                    self._summaries.keep(live)
                    self._unpacked.drop_all_but(live)
            except OSError as error:
                raise from_os_error(error, "collect garbage") from error
        return Collected(digests=tuple(blob.digest for blob in dead), freed=freed)

    def _drop_bundles(self, live: set[Digest]) -> None:
        folder = self.home / "bundles"
        if not folder.is_dir():
            return
        kept = {self.bundle_folder(digest) for digest in live}
        for bundle in folder.iterdir():
            if bundle not in kept:
                shutil.rmtree(bundle, ignore_errors=True)

"""The local store: an OCI layout of models under full references, with bundles beside it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mrpack.content.artifacts import read_model
from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, MrpackError, NotFound, UsageError, from_os_error
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import decode_object, encode
from mrpack.oci.reference import Reference, ReferenceDefaults
from mrpack.store.durable import read_plain, write_atomic
from mrpack.store.entries import REF_NAME
from mrpack.store.layout import OciLayout
from mrpack.store.names import StoredModel, find_model
from mrpack.store.summaries import Summaries, Summary

if TYPE_CHECKING:
    from mrpack.content.progress import Report
    from mrpack.model.artifact import ModelArtifact
    from mrpack.store.bundle import Bundle, Bundles
    from mrpack.store.care import Care, Collected, Usage
    from mrpack.store.checkup import Damage
    from mrpack.store.repair import Repaired

STORE_VERSION: Final = 1
_VERSION_LIMIT: Final = 64 * 1024


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
        self._cache = cache
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
            try:
                reference = Reference.parse(name)
            except UsageError:
                continue
            found.append(StoredModel(reference=reference, manifest=entry.plain()))
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
        with self.reading():
            return self._bundles.build(manifest.digest, artifact)

    @functools.cached_property
    def _bundles(self) -> Bundles:
        from mrpack.store.bundle import Bundles  # noqa: PLC0415  # 12 ms, with all that artifacts are made of

        return Bundles(self.layout, self.home, self._cache)

    # Care.

    @functools.cached_property
    def _care(self) -> Care:
        from mrpack.store.care import Care  # noqa: PLC0415  # 8 ms, and names need none of it

        return Care(self.layout)

    def verify(
        self,
        models: list[StoredModel] | None = None,
        *,
        jobs: int | None = None,
        report: Report | None = None,
    ) -> list[Damage]:
        """Hash what the models need, or all there is; each blob once, several at a time, in constant memory.

        Also a blob that nothing needs has to be right: the next `pull` may count on it.
        """
        wanted = self.models() if models is None else models
        return self._care.verify(wanted, everything=models is None, jobs=jobs, report=report)

    def repair(
        self, *, dry_run: bool = False, jobs: int | None = None, report: Report | None = None
    ) -> Repaired:
        """As `repair_layout`. Open the store with `lenient` for it. Raises NotFound when there is none."""
        if not self.layout.root.is_dir():
            raise NotFound(f"no store in {self.home}")
        repaired = self._care.repair(dry_run=dry_run, jobs=jobs, report=report)
        if not dry_run:
            self._note_version()
        return repaired

    def usage(self) -> Usage:
        return self._care.usage(self.models())

    def collect(self, *, dry_run: bool = False) -> Collected:
        """Remove what no reference needs: blobs, parts of dead operations, bundles.

        What belongs to a manifest (`subject`) and has no name lives as long as that; its entry goes with it.

        Raises StoreBusy while another process writes to the store.
        """
        return self._care.collect(self._forget, dry_run=dry_run)

    def _forget(self, live: set[Digest]) -> None:
        """What was made of other content. Raises OSError."""
        self._summaries.keep(live)
        self._bundles.drop_all_but(live)

"""The local store: an OCI layout of models under full references, with bundles beside it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mrpack.content.artifacts import read_model
from mrpack.digest import Digest
from mrpack.errors import MrpackError, NotFound, UsageError, from_os_error
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.reference import Reference, ReferenceDefaults
from mrpack.store.entries import REF_NAME
from mrpack.store.layout import OciLayout
from mrpack.store.marks import STORE
from mrpack.store.names import StoredModel, find_names
from mrpack.store.summaries import Summaries, Summary

if TYPE_CHECKING:
    from mrpack.content.progress import Report
    from mrpack.model.artifact import ModelArtifact
    from mrpack.store.bundle import Bundle, Bundles
    from mrpack.store.care import Care, Collected, Usage
    from mrpack.store.checkup import Damage
    from mrpack.store.repair import Repaired


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

    @contextlib.contextmanager
    def operation(self) -> Iterator[OciLayout]:
        """The layout to write to; nothing that is written is collected until the bracket closes."""
        with self.layout.operation():
            # Looked at again: a server runs for months, and another mrpack may have upgraded the store.
            if not STORE.is_on(self.layout.root):
                self._mark()
            yield self.layout

    def _mark(self) -> None:
        try:
            STORE.write(self.layout.root, ingest=self.layout.blobs.ingest_folder)
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
        return self.find_names(name)[-1]

    def find_names(self, name: str) -> Sequence[StoredModel]:
        """As `find`, with every name of the model that `name` means: several of an id, say."""
        return find_names(self.models(), name, self.defaults)

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
        from mrpack.content.progress import silent  # noqa: PLC0415  # names need none of this
        from mrpack.store.repair import repair_layout  # noqa: PLC0415

        if not self.layout.root.is_dir():
            raise NotFound(f"no store in {self.home}")
        repaired = repair_layout(self.layout, dry_run=dry_run, jobs=jobs, report=report or silent)
        if not dry_run:
            # Who collects meanwhile would take a file in the making for a leftover.
            with self.layout.operation():
                self._mark()
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

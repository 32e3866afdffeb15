"""Care for the content of a layout: hashing it again, counting it, and removing what no name needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mrpack.content.documents import read_document
from mrpack.content.progress import Report, silent
from mrpack.digest import Digest
from mrpack.errors import MrpackError, from_os_error
from mrpack.oci.descriptor import Descriptor
from mrpack.store.checkup import Damage, all_blobs, closure, find_problems
from mrpack.store.entries import REF_NAME
from mrpack.store.layout import OciLayout
from mrpack.store.names import StoredModel


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


class Care:
    """What `Store` does by the methods of the same names."""

    def __init__(self, layout: OciLayout) -> None:
        self._layout = layout

    def verify(
        self, models: Iterable[StoredModel], *, everything: bool, jobs: int | None, report: Report | None
    ) -> list[Damage]:
        """`everything`: also what no model needs."""
        needed: dict[Digest, Descriptor] = {}
        names: dict[Digest, list[str]] = {}
        for model in models:
            try:
                wanted = closure(self._layout, model.manifest)
            except MrpackError:
                wanted = {model.manifest.digest: model.manifest}
            for digest, descriptor in wanted.items():
                needed[digest] = descriptor
                names.setdefault(digest, []).append(str(model.reference))
        if everything:
            for blob in all_blobs(self._layout):
                needed.setdefault(blob.digest, blob)
        problems = find_problems(self._layout, needed.values(), jobs=jobs, report=report or silent)
        return [
            Damage(digest=digest, problem=problem, references=tuple(names.get(digest, ())))
            for digest, problem in problems.items()
        ]

    def usage(self, models: Iterable[StoredModel]) -> Usage:
        live = self._live()
        present = all_blobs(self._layout)
        try:
            partial = sum(size for _, size in self._layout.blobs.leftovers())
        except OSError as error:
            raise from_os_error(error, "list partial downloads") from error
        return Usage(
            blobs=sum(blob.size for blob in present),
            models=len({model.manifest.digest for model in models}),
            reclaimable=sum(blob.size for blob in present if blob.digest not in live),
            partial=partial,
        )

    def _live(self) -> set[Digest]:
        """Raises when a manifest cannot be read: what it names must not be taken for garbage."""
        live: set[Digest] = set()
        waiting: list[tuple[Digest, Descriptor]] = []
        for entry in self._layout.entries:
            subject = None if REF_NAME in entry.annotations else read_document(self._layout, entry)[1].subject
            # One that came before its subject waits for it.
            if subject is None or not self._layout.exists(subject):
                live.update(closure(self._layout, entry.plain()))
            else:
                waiting.append((subject.digest, entry.plain()))
        # A signature of a report of a model: each lives by the one before.
        while found := [item for item in waiting if item[0] in live]:
            waiting = [item for item in waiting if item[0] not in live]
            for _, entry in found:
                live.update(closure(self._layout, entry))
        return live

    def collect(self, forget: Callable[[set[Digest]], None], *, dry_run: bool) -> Collected:
        """`forget` is told what lives, to drop what was made of all else; it may raise OSError."""
        layout = self._layout
        if not layout.root.is_dir():
            return Collected(digests=(), freed=0)
        with layout.reading() if dry_run else layout.collecting():
            live = self._live()
            if not dry_run:
                layout.keep_entries(live)
            dead = [blob for blob in all_blobs(layout) if blob.digest not in live]
            freed = sum(blob.size for blob in dead)
            try:
                freed += sum(size for _, size in layout.blobs.leftovers())
                if not dry_run:
                    for blob in dead:
                        layout.blobs.remove(blob.digest)
                    layout.drop_leftovers()
                    forget(live)
            except OSError as error:
                raise from_os_error(error, "collect garbage") from error
        return Collected(digests=tuple(blob.digest for blob in dead), freed=freed)

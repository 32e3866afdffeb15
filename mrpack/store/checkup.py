"""Looking at a layout's content: what a manifest needs, what is there, and what is not what its name says."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Event
from typing import Final

from mrpack.content.documents import read_document
from mrpack.content.progress import Report, Worked, silent
from mrpack.digest import ByteSource, Digest
from mrpack.errors import MrpackError, from_os_error
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index
from mrpack.oci.mediatypes import OCTET_STREAM
from mrpack.store.layout import OciLayout, verify_stream

# Blobs hashed at once: more disks than this feed few machines.
_JOBS_LIMIT: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A blob that is not what its name says, or is missing, and the references that need it."""

    digest: Digest
    problem: str
    references: tuple[str, ...]


def closure(layout: OciLayout, manifest: Descriptor) -> dict[Digest, Descriptor]:
    """The manifest and all that it names, through indexes. Raises when one of them cannot be read."""
    found = {manifest.digest: manifest}
    _, document = read_document(layout, manifest)
    if isinstance(document, Index):
        for child in document.manifests:
            found.update(closure(layout, child))
    else:
        found.update((blob.digest, blob) for blob in document.blobs)
    return found


def all_blobs(layout: OciLayout) -> list[Descriptor]:
    """Every blob there is, with the size that its file has."""
    try:
        found = list(layout.blobs.digests())
    except OSError as error:
        raise from_os_error(error, "list blobs") from error
    return [
        Descriptor(media_type=OCTET_STREAM, digest=digest, size=status.st_size) for digest, status in found
    ]


def find_problems(
    layout: OciLayout, blobs: Iterable[Descriptor], *, jobs: int | None = None, report: Report = silent
) -> dict[Digest, str]:
    """What is wrong with which of them, by hashing them all, several at a time, in constant memory."""
    from mrpack.content.crew import crew  # noqa: PLC0415  # `list` hashes nothing

    wanted = list({blob.digest: blob for blob in blobs}.values())
    with crew(jobs or min(_JOBS_LIMIT, os.cpu_count() or 1)) as (pool, stop):

        def problem(blob: Descriptor) -> str | None:
            try:
                verify_stream(_Watched(layout.fetch(blob), blob, report, stop), blob)
            except MrpackError as error:
                return error.message.removeprefix(f"{blob.digest}: ")  # who lists problems names it first
            return None

        problems = pool.map(problem, wanted)
        return {blob.digest: text for blob, text in zip(wanted, problems, strict=True) if text is not None}


class _Watched:
    """Tells how far it is read; ends, too early for all, when nobody wants to know any more."""

    def __init__(self, source: ByteSource, blob: Descriptor, report: Report, stop: Event) -> None:
        self._source = source
        self._blob = blob
        self._report = report
        self._stop = stop
        self._position = 0

    def readinto(self, buffer: memoryview, /) -> int:
        if self._stop.is_set():
            return 0
        count = self._source.readinto(buffer)
        if count:
            self._position += count
            self._report(Worked(f"verifying {self._blob.digest.short}", self._blob.size, self._position))
        return count

    def close(self) -> None:
        self._source.close()

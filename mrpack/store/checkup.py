"""Looking at a layout's content: what a manifest needs, what is there, and what is not what its name says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from mrpack.content.documents import read_document, walk_documents
from mrpack.content.progress import Report, Worked, silent
from mrpack.digest import Digest
from mrpack.errors import MrpackError, from_os_error
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index
from mrpack.oci.mediatypes import OCTET_STREAM
from mrpack.store.layout import OciLayout
from mrpack.store.verifying import StillWanted, verify_each, verify_stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A blob that is not what its name says, or is missing, and the references that need it."""

    digest: Digest
    problem: str
    references: tuple[str, ...]


def closure(layout: OciLayout, manifest: Descriptor) -> dict[Digest, Descriptor]:
    """The manifest and all that it names, through indexes. Raises when one of them cannot be read."""
    found = {manifest.digest: manifest}
    for descriptor, _, document in walk_documents(manifest, partial(read_document, layout)):
        found[descriptor.digest] = descriptor
        if not isinstance(document, Index):
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
    wanted = list({blob.digest: blob for blob in blobs}.values())

    def problem(blob: Descriptor, still_wanted: StillWanted) -> str | None:
        def advanced(position: int) -> None:
            still_wanted()
            report(Worked(f"verifying {blob.digest.short}", blob.size, position))

        try:
            verify_stream(layout.fetch(blob), blob, advanced)
        except MrpackError as error:
            return error.message.removeprefix(f"{blob.digest}: ")  # who lists problems names it first
        return None

    problems = verify_each(wanted, problem, jobs=jobs)
    return {blob.digest: text for blob, text in zip(wanted, problems, strict=True) if text is not None}

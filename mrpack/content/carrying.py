"""Copying what belongs to an artifact along with it: signatures, reports, and what belongs to these."""

from __future__ import annotations

from collections.abc import Container, Iterator

from mrpack.content.copy import copy
from mrpack.content.documents import read_document
from mrpack.content.ports import Fetcher, Referring, Source, Target
from mrpack.content.progress import Report, silent
from mrpack.content.referrers import DEPTH_LIMIT
from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, Unsupported
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index
from mrpack.oci.mediatypes import INDEXES


def copy_referrers(
    source: Source, root: Descriptor, target: Target, *, jobs: int, report: Report = silent
) -> list[Descriptor]:
    """Bring what belongs to `root`, and to that in turn; returns all of it.

    Before the artifact itself: registries take it so (distribution-spec 1.1, "Pushing Manifests with
    Subject"), and the artifact is never seen without its signatures.

    Raises:
        Unsupported: the source does not know such a thing.
        InvalidArtifact: it lists what belongs to something else.
        TransferError: as `copy`.
    """
    carried = []
    for item in belonging_to(source, root):
        copy(source, str(item.digest), target, None, jobs=jobs, report=report)
        carried.append(item)
    return carried


def belonging_to(source: Source, root: Descriptor) -> Iterator[Descriptor]:
    """What belongs to `root`, to the manifests of an index, and to that in turn; each once.

    Raises Unsupported, InvalidArtifact as `copy_referrers` does, and what reading raises.
    """
    if not isinstance(source, Referring):
        raise Unsupported("this source cannot tell what belongs to an artifact")
    subjects = [root]
    if root.media_type in INDEXES:
        _, document = read_document(source, root)
        subjects += document.manifests if isinstance(document, Index) else ()
    found: set[Digest] = set()
    for _ in range(DEPTH_LIMIT):
        wanted = frozenset(subject.digest for subject in subjects)
        listed = {item.digest: item for subject in subjects for item in source.referrers(subject)}
        subjects = [item for item in listed.values() if item.digest not in found]
        for item in subjects:
            _check_subject(source, item, wanted)
            found.add(item.digest)
            yield item


def _check_subject(source: Fetcher, referrer: Descriptor, wanted: Container[Digest]) -> None:
    """A list may name anything. Raises InvalidArtifact: it belongs to something else, or to nothing."""
    _, document = read_document(source, referrer)
    if document.subject is None or document.subject.digest not in wanted:
        raise InvalidArtifact(
            f"{referrer.digest.short} is listed as belonging to an artifact, and does not say so itself"
        )

"""Manifests that belong to another one, found and carried along."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final

from mrpack.content.copy import copy, read_document
from mrpack.content.ports import Fetcher, Referring, Source, Target
from mrpack.content.progress import Report, silent
from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, MrpackError, Unsupported
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index, Manifest
from mrpack.oci.mediatypes import INDEXES

# A report may be signed, and its signature countersigned; who has more goes in circles.
_DEPTH_LIMIT: Final = 4


def describe_referrer(document: Manifest | Index, raw_descriptor: Descriptor) -> Descriptor:
    """As lists of referrers show it: with its type, or else its config's, and its annotations."""
    config = document.config.media_type if isinstance(document, Manifest) else None
    return Descriptor(
        media_type=document.media_type,
        digest=raw_descriptor.digest,
        size=raw_descriptor.size,
        artifact_type=document.artifact_type or config,
        annotations=document.annotations,
    )


def of_type(referrers: Iterable[Descriptor], artifact_type: str | None) -> list[Descriptor]:
    """Sorted by digest, each once; all types for None."""
    found = {item.digest: item for item in referrers if artifact_type in {None, item.artifact_type}}
    return sorted(found.values(), key=lambda item: item.digest)


def find_referrers(
    content: Fetcher, roots: Iterable[Descriptor], subject: Descriptor, artifact_type: str | None
) -> list[Descriptor]:
    """By reading every manifest from `roots` on, through indexes; what cannot be read refers to nothing."""
    found: list[Descriptor] = []
    seen = set()
    waiting = [(root, 0) for root in roots]
    while waiting:
        manifest, depth = waiting.pop()
        if manifest.digest in seen or depth > _DEPTH_LIMIT:
            continue
        seen.add(manifest.digest)
        try:
            _, document = read_document(content, manifest)
        except MrpackError:
            continue
        if isinstance(document, Index):
            waiting += [(child, depth + 1) for child in document.manifests]
        if document.subject is not None and document.subject.digest == subject.digest:
            found.append(describe_referrer(document, manifest))
    return of_type(found, artifact_type)


def copy_referrers(
    source: Source, root: Descriptor, target: Target, *, jobs: int, report: Report = silent
) -> list[Descriptor]:
    """Bring what belongs to `root`, to the manifests of an index, and to that in turn; returns all of it.

    Before the artifact itself: registries take it so (distribution-spec 1.1, "Pushing Manifests with
    Subject"), and the artifact is never seen without its signatures.

    Raises:
        Unsupported: the source does not know such a thing.
        InvalidArtifact: it lists what belongs to something else.
        TransferError: as `copy`.
    """
    if not isinstance(source, Referring):
        raise Unsupported("this source cannot tell what belongs to an artifact")
    subjects = [root]
    if root.media_type in INDEXES:
        _, document = read_document(source, root)
        subjects += document.manifests if isinstance(document, Index) else ()
    carried: dict[str, Descriptor] = {}
    for _ in range(_DEPTH_LIMIT):
        wanted = frozenset(subject.digest for subject in subjects)
        found = [item for subject in subjects for item in source.referrers(subject)]
        subjects = [item for item in found if str(item.digest) not in carried]
        for item in subjects:
            _check_subject(source, item, wanted)
            copy(source, str(item.digest), target, None, jobs=jobs, report=report)
            carried[str(item.digest)] = item
    return list(carried.values())


def _check_subject(source: Fetcher, referrer: Descriptor, wanted: Container[Digest]) -> None:
    """A list may name anything. Raises InvalidArtifact: it belongs to something else, or to nothing."""
    _, document = read_document(source, referrer)
    if document.subject is None or document.subject.digest not in wanted:
        raise InvalidArtifact(
            f"{referrer.digest.short} is listed as belonging to an artifact, and does not say so itself"
        )

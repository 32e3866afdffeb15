"""Where else the content of a layout is: in the repositories that its own names speak of."""

from __future__ import annotations

from typing import Final, Protocol

from mrpack.content.documents import read_document
from mrpack.content.ports import Fetcher
from mrpack.digest import Digest
from mrpack.errors import MrpackError, UsageError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index, Manifest
from mrpack.oci.reference import Reference

# Manifests to read for one registry; a mount that is not found costs the blob's transfer and nothing else.
_LIMIT: Final = 100


class Named(Fetcher, Protocol):
    def index(self) -> Index: ...


def sightings(layout: Named, registry: str, ref_name: str) -> dict[Digest, str]:
    """Blobs and a repository of `registry` that should have each; `ref_name` is the annotation with the name.

    A guess: the registry is asked to mount from there, and takes the content itself if it cannot.
    """
    found: dict[Digest, str] = {}
    named = [(entry, _repository(entry.annotations.get(ref_name, ""), registry)) for entry in _newest(layout)]
    for entry, repository in [pair for pair in named if pair[1]][:_LIMIT]:
        for blob in _blobs(layout, entry):
            found.setdefault(blob.digest, repository)
    return found


def _newest(layout: Named) -> list[Descriptor]:
    try:
        return list(reversed(layout.index().manifests))
    except MrpackError:
        return []


def _repository(name: str, registry: str) -> str:
    try:
        reference = Reference.parse(name)
    except UsageError:
        return ""
    return reference.repository if reference.registry == registry else ""


def _blobs(layout: Named, entry: Descriptor) -> tuple[Descriptor, ...]:
    try:
        _, document = read_document(layout, entry.plain())
    except MrpackError:
        return ()
    return document.blobs if isinstance(document, Manifest) else ()

"""Referrers of a manifest in a registry: by the API, or by a tag in registries that do not have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote

from mrpack.content.referrers import of_type
from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, NotFound, RegistryUnavailable, Unsupported
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import MANIFEST_LIMIT
from mrpack.oci.manifest import Index
from mrpack.oci.mediatypes import OCI_INDEX
from mrpack.registry.paging import LIST_LIMIT, next_page
from mrpack.registry.repository import Repository

_PAGE_LIMIT: Final = 1_000
_ENTRY_LIMIT: Final = 10_000
_RACES_LIMIT: Final = 8


@dataclass(frozen=True, slots=True)
class Fallback:
    """The index under a fallback tag; `condition`: headers of a write that replaces what was read."""

    entries: tuple[Descriptor, ...]
    condition: Mapping[str, str] = field(default_factory=dict)


ReadFallback = Callable[[], Fallback]
WriteFallback = Callable[[Index, Fallback], None]


def fallback_tag(subject: Digest) -> str:
    """distribution-spec 1.1, "Referrers Tag Schema"."""
    return f"{subject.algorithm}-{subject.hex}"


def list_referrers(
    repository: Repository, subject: Digest, artifact_type: str | None
) -> list[Descriptor] | None:
    """By the API; None when this registry does not have it.

    Raises RegistryUnavailable: pages without end, or no list.
    """
    client = repository.client
    doing = f"list what belongs to {subject.short} in {repository.name}"
    query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
    call = repository.reading(doing, f"/referrers/{subject}{query}", headers={"Accept": OCI_INDEX})
    found: list[Descriptor] = []
    size = 0
    for _ in range(_PAGE_LIMIT):
        try:
            response = client.send(call)
        except (NotFound, Unsupported):
            return None
        if (response.header("Content-Type") or "").partition(";")[0].strip() != OCI_INDEX:
            response.close()
            return None  # some answer every path with a page
        raw = response.read(MANIFEST_LIMIT)
        try:
            page = Index.parse(raw, doing).manifests
        except InvalidArtifact as error:
            raise RegistryUnavailable(error.message) from error
        found += page
        path = next_page(response, client, doing)
        size += len(raw)
        if size > LIST_LIMIT or len(found) > _ENTRY_LIMIT or (path is not None and not page):
            break
        if path is None:
            # Whether the registry filtered (`OCI-Filters-Applied`) or not.
            return of_type(found, artifact_type)
        call = replace(call, path=path)
    raise RegistryUnavailable(f"{doing}: {client.registry} sends pages without end")


def add_to_fallback(read: ReadFallback, write: WriteFallback, referrer: Descriptor) -> None:
    """Put `referrer` into the index under the fallback tag, whoever else does the same at this moment.

    Not every registry looks at conditions, so it is read again afterwards: who finds his entry gone has lost
    a race, and repeats it.

    Raises:
        RegistryUnavailable: it was lost again and again.
    """
    for _ in range(_RACES_LIMIT):
        state = read()
        if any(entry.digest == referrer.digest for entry in state.entries):
            return
        write(Index.build([*state.entries, referrer]), state)
    raise RegistryUnavailable(
        f"others change what belongs to this artifact faster than {referrer.digest.short} can be added",
        hint="repeat",
    )

"""Lists that a registry hands out in pages."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from mrpack.errors import InvalidArtifact, RegistryUnavailable
from mrpack.oci.encoding import MANIFEST_LIMIT, decode_object
from mrpack.registry.client import RegistryClient
from mrpack.registry.repository import Repository
from mrpack.registry.response import Response
from mrpack.registry.url import Url

_PAGE_LIMIT: Final = 1_000
# Far above the few thousand of busy repositories.
_TAG_LIMIT: Final = 100_000
# Of a list as a whole, in bytes of JSON: pages are bounded, but there may be many.
LIST_LIMIT: Final = 16 * 1024 * 1024
# Each sign is looked at once: a pattern for all of a link would go over a long header again and again.
_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_IS_NEXT = re.compile(r';\s*rel="?next\b', re.IGNORECASE)


def list_tags(repository: Repository) -> list[str]:
    """All tags, sorted.

    Raises:
        NotFound: no such repository.
        RegistryUnavailable: pages without end, on another host, or not a list of tags.
    """
    client = repository.client
    doing = f"list the tags of {repository.path}"
    found: set[str] = set()
    size = 0
    call = repository.reading(doing, "/tags/list?n=1000")
    for _ in range(_PAGE_LIMIT):
        response = client.send(call)
        before = len(found)
        raw = response.read(MANIFEST_LIMIT)
        found.update(_tags(raw, doing))
        path = next_page(response, client, doing)
        size += len(raw)
        if size > LIST_LIMIT or len(found) > _TAG_LIMIT or (path is not None and len(found) == before):
            break
        if path is None:
            return sorted(found)
        call = replace(call, path=path)
    raise RegistryUnavailable(f"{doing}: {client.registry} sends pages without end")


def _tags(raw: bytes, doing: str) -> list[str]:
    try:
        tags = decode_object(raw, "tags").get("tags") or []
    except InvalidArtifact as error:
        raise RegistryUnavailable(f"{doing}: {error.message}") from error
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise RegistryUnavailable(f"{doing}: the answer is not a list of tags")
    return tags


def next_page(response: Response, client: RegistryClient, doing: str) -> Url | None:
    """The link of RFC 8288; None at the end.

    Raises RegistryUnavailable for another origin: it would be asked with nothing to show, and could answer
    anything.
    """
    links = _LINK.findall(response.header("Link") or "")
    location = next((location for location, rest in links if _IS_NEXT.search(rest)), None)
    if location is None:
        return None
    url = response.url.follow(location)
    if url.origin != client.origin:
        raise RegistryUnavailable(
            f"{doing}: {client.registry} continues its list on {url.origin}, which is refused"
        )
    return url

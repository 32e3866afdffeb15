"""Which DDUF file of a repository."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mrpack.errors import NotFound, UsageError
from mrpack.hub.listing import HubFile, HubListing, Selection
from mrpack.model.weight_formats import format_by_name

KIND: Final = "dduf"


def is_in(files: Iterable[HubFile]) -> bool:
    return any(_is_pipeline(file) for file in files)


def choose(listing: HubListing, wish: str | None) -> Selection:
    """The only one, or the one whose name without suffix is `wish`. Raises NotFound, UsageError."""
    repository = listing.repository
    found = {file.name[: -len(KIND) - 1]: file for file in listing.files if _is_pipeline(file)}
    names = ", ".join(sorted(found))
    if wish is not None:
        found = {name: file for name, file in found.items() if name.upper() == wish.upper()}
    if not found:
        raise NotFound(f"{repository} holds no DDUF file {wish or ''}".rstrip(), hint=f"it has {names}")
    if len(found) > 1:
        raise UsageError(
            f"{repository} holds several DDUF files: {names}",
            hint=f"name one, such as hf.co/{repository}:{min(found)}",
        )
    (file,) = found.values()
    return Selection(kind=KIND, files=(file,), main=file.path)


def _is_pipeline(file: HubFile) -> bool:
    return format_by_name(file.path) == KIND

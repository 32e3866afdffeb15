"""Places people can name: a registry reference, or `oci:FOLDER[:TAG]`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mrpack.content.ports import Target
from mrpack.errors import UsageError
from mrpack.oci.reference import Reference
from mrpack.store.layout import OciLayout
from mrpack.workspace import Access, Workspace

_LAYOUT: Final = "oci:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A target, the reference in its own form, and the full name for messages."""

    target: Target
    ref: str
    name: str


def open_place(
    workspace: Workspace, text: str, access: Access | None = None, *, create: bool = True
) -> Place:
    """Nothing is contacted or written yet. `create=False`: a folder must be a layout already.

    Raises:
        UsageError: a malformed name.
        NotFound: the folder of a source is no layout.
    """
    if text.startswith(_LAYOUT):
        folder, _, tag = text.removeprefix(_LAYOUT).partition(":")
        if not folder:
            raise UsageError(f"bad layout {text!r}", hint="write oci:FOLDER[:TAG]")
        ref = tag or workspace.settings.references.tag
        return Place(target=OciLayout(Path(folder), create=create), ref=ref, name=f"oci:{folder}:{ref}")
    reference = Reference.parse(text, workspace.settings.references)
    return Place(target=workspace.registry(reference, access), ref=reference.target, name=str(reference))

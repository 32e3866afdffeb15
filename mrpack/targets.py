"""Places people can name: a registry reference, or one of KINDS such as `oci:FOLDER[:TAG]`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mrpack.content.ports import Source, Target
from mrpack.errors import MrpackError, NotFound, TransferError, Unsupported, UsageError
from mrpack.neighbours import NEIGHBOURS, Neighbour, NeighbourStore
from mrpack.oci.reference import Reference
from mrpack.store.layout import OciLayout
from mrpack.workspace import Access, Workspace

if TYPE_CHECKING:
    from mrpack.store.archive import ArchiveSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A source, the reference in its own form, and the full name for messages.

    `local`: the name under which it would come into the local store; None where there is only a tag.
    """

    source: Source
    ref: str
    name: str
    local: Reference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A target, the reference in its own form, and the full name for messages."""

    target: Target
    ref: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of place on this machine, written `PREFIX:REST` as `usage` shows.

    `read` raises NotFound when nothing of that kind is there; `write` makes it, at the first content. Without
    a `write` it belongs to another program, and is only read. `names`: of what it holds, as its `read` takes
    them after the prefix, all or those with a part. `grows`: what is there can be added to.
    """

    usage: str
    read: Callable[[Workspace, str], Origin]
    names: Callable[[Workspace, str], list[str]]
    write: Callable[[Workspace, str], Place] | None = None
    grows: bool = False


def is_place(text: str) -> bool:
    """Whether it names a place of KINDS, rather than a registry or a local model."""
    prefix, colon, _ = text.partition(":")
    return bool(colon) and prefix in KINDS


def open_source(workspace: Workspace, text: str, access: Access | None = None) -> Origin:
    """What is read from; nothing in a registry is contacted yet.

    Raises:
        UsageError: a malformed name.
        NotFound, InvalidArtifact: no such folder or file, or it is not what it should be.
    """
    if is_place(text):
        prefix, _, rest = text.partition(":")
        return KINDS[prefix].read(workspace, rest)
    place = open_place(workspace, text, access)
    reference = Reference.parse(text, workspace.settings.references)
    return Origin(source=place.target, ref=place.ref, name=place.name, local=reference)


def list_names(workspace: Workspace, text: str, access: Access | None = None) -> list[str]:
    """What a repository in a registry, or a place without a tag, holds: names that `open_source` takes.

    Raises:
        UsageError: a malformed name, or one that has a tag or digest already.
        NotFound: no such repository, folder or file.
    """
    if is_place(text):
        prefix, _, rest = text.partition(":")
        return [f"{prefix}:{name}" for name in KINDS[prefix].names(workspace, rest)]
    refuse_hub(text)
    reference = Reference.parse(text, workspace.settings.references)
    if reference.digest or ":" in text.rpartition("/")[2]:
        raise UsageError(f"{text!r} names one model", hint="leave out what comes after the repository")
    return [f"{reference.name}:{tag}" for tag in workspace.registry(reference, access).tags()]


@contextlib.contextmanager
def hinting_at_local(workspace: Workspace, text: str, hint: str) -> Iterator[None]:
    """When the source `text` cannot be read, and the local store has such a model, the error says so."""
    try:
        yield
    except MrpackError as error:
        is_ours = isinstance(error, TransferError) and error.side == "destination"
        if not is_ours and not is_place(text) and workspace.store.has(text):
            ours = f"{text!r} is in the local store: {hint}"
            error.hint = f"{ours}; or: {error.hint}" if error.hint else ours
        raise


def refuse_hub(text: str) -> None:
    """Raises UsageError for a Hugging Face repository, whose name could be that of an artifact."""
    from mrpack.hub import is_hub_reference  # noqa: PLC0415  # local commands need no hub

    if is_hub_reference(text):
        raise UsageError(
            f"{text}: this is for registries, not for Hugging Face",
            hint="`mrpack pull` brings it into the local store, `mrpack package` too; nothing writes there",
        )


def open_place(workspace: Workspace, text: str, access: Access | None = None) -> Place:
    """What is written to; nothing is contacted or written yet.

    Raises:
        UsageError: a malformed name, or one of a Hugging Face repository.
        Unsupported: a place of another program.
    """
    if is_place(text):
        prefix, _, rest = text.partition(":")
        write = KINDS[prefix].write
        if write is None:
            raise Unsupported(f"nothing is written to {prefix}:, which belongs to another program")
        return write(workspace, rest)
    refuse_hub(text)
    reference = Reference.parse(text, workspace.settings.references)
    return Place(target=workspace.registry(reference, access), ref=reference.target, name=str(reference))


def open_existing(workspace: Workspace, text: str, access: Access | None = None) -> Place:
    """What is there already, to add to it.

    Raises:
        Unsupported: a place that is written whole, or belongs to another program.
        NotFound, UsageError: as `open_source`.
    """
    if not is_place(text):
        return open_place(workspace, text, access)
    prefix, _, rest = text.partition(":")
    write = KINDS[prefix].write
    if not KINDS[prefix].grows or write is None:
        raise Unsupported(f"nothing can be added to {text}", hint="`mrpack copy` it to oci:FOLDER first")
    origin = open_source(workspace, text)
    return Place(target=write(workspace, rest).target, ref=origin.ref, name=origin.name)


def _path_and_tag(prefix: str, rest: str) -> tuple[Path, str]:
    path, _, tag = rest.partition(":")
    if not path:
        raise UsageError(f"bad place '{prefix}:{rest}'", hint=f"write {KINDS[prefix].usage}")
    return Path(path), tag


def _read_layout(workspace: Workspace, rest: str) -> Origin:
    folder, tag = _path_and_tag("oci", rest)
    return _origin(workspace, "oci", OciLayout(folder, create=False), folder, tag)


def _layout_names(_workspace: Workspace, rest: str) -> list[str]:
    folder, tag = _path_and_tag("oci", rest)
    return _tagged(folder, OciLayout(folder, create=False), tag)


def _write_layout(workspace: Workspace, rest: str) -> Place:
    folder, tag = _path_and_tag("oci", rest)
    ref = tag or workspace.settings.references.tag
    return Place(target=OciLayout(folder), ref=ref, name=f"oci:{folder}:{ref}")


def _read_archive(workspace: Workspace, rest: str) -> Origin:
    from mrpack.store.archive import ArchiveSource  # noqa: PLC0415  # most places are none

    file, tag = _path_and_tag("oci-archive", rest)
    return _origin(workspace, "oci-archive", ArchiveSource(file), file, tag)


def _archive_names(_workspace: Workspace, rest: str) -> list[str]:
    from mrpack.store.archive import ArchiveSource  # noqa: PLC0415  # most places are none

    file, tag = _path_and_tag("oci-archive", rest)
    return _tagged(file, ArchiveSource(file), tag)


def _tagged(path: Path, source: OciLayout | ArchiveSource, part: str) -> list[str]:
    return [f"{path}:{tag}" for tag in source.tags() if part in tag]


def _write_archive(workspace: Workspace, rest: str) -> Place:
    from mrpack.store.archive import OciArchive  # noqa: PLC0415  # most places are none

    file, tag = _path_and_tag("oci-archive", rest)
    ref = tag or workspace.settings.references.tag
    return Place(target=OciArchive(file), ref=ref, name=f"oci-archive:{file}:{ref}")


def _origin(
    workspace: Workspace, prefix: str, source: OciLayout | ArchiveSource, path: Path, tag: str
) -> Origin:
    name = f"{prefix}:{path}"
    ref = tag or _only(source, name, workspace.settings.references.tag)
    return Origin(source=source, ref=ref, name=f"{name}:{ref}", local=full_name(ref))


def _only(source: OciLayout | ArchiveSource, name: str, default: str) -> str:
    """The default tag, or the only artifact there is: other tools may have given it no name at all."""
    tags = source.tags()
    if default in tags:
        return default
    if len(tags) == 1:
        return tags[0]
    if not tags and len(source.entries) == 1:
        return str(source.entries[0].digest)
    offer = ", ".join(tags[:5])
    raise NotFound(
        f"{name} holds {len(source.entries)} artifacts, and none is tagged {default!r}",
        hint=f"say which: {offer}" if tags else "give a digest",
    )


def full_name(ref: str) -> Reference | None:
    """`ref` when it is a whole reference, with a registry in front; None for a mere tag or digest."""
    try:
        found = Reference.parse(ref)
    except UsageError:
        return None
    return found if ref == str(found) else None


def _read_neighbour(neighbour: Neighbour, workspace: Workspace, rest: str) -> Origin:
    if not rest:
        raise UsageError(f"bad place '{neighbour.prefix}:'", hint=f"write {neighbour.prefix}:NAME")
    reference = Reference.parse(rest, neighbour.defaults)
    return Origin(
        source=_neighbour_store(neighbour, workspace),
        ref=str(reference),
        name=f"{neighbour.prefix}:{reference.familiar(neighbour.defaults)}",
        local=reference,
    )


def _neighbour_names(neighbour: Neighbour, workspace: Workspace, rest: str) -> list[str]:
    """As the tool shortens them; those that contain `rest`."""
    names = _neighbour_store(neighbour, workspace).tags()
    familiar = [Reference.parse(name).familiar(neighbour.defaults) for name in names]
    return [name for name in familiar if rest in name]


def _neighbour_store(neighbour: Neighbour, workspace: Workspace) -> NeighbourStore:
    return NeighbourStore(neighbour, workspace.settings.neighbour_folders.get(neighbour.prefix))


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "oci": Kind(
            usage="oci:FOLDER[:TAG]",
            read=_read_layout,
            names=_layout_names,
            write=_write_layout,
            grows=True,
        ),
        "oci-archive": Kind(
            usage="oci-archive:FILE[:TAG]", read=_read_archive, names=_archive_names, write=_write_archive
        ),
        **{
            prefix: Kind(
                usage=f"{prefix}:NAME",
                read=partial(_read_neighbour, neighbour),
                names=partial(_neighbour_names, neighbour),
            )
            for prefix, neighbour in NEIGHBOURS.items()
        },
    }
)

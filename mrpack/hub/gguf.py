"""Which GGUF model of a repository: one set of shards, by its exact quantization."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from mrpack.errors import NotFound, UsageError
from mrpack.formats.gguf import parse_shard_name
from mrpack.hub.labels import find_label, is_alias
from mrpack.hub.listing import HubFile, HubListing, Selection
from mrpack.model.layer import LayerRole
from mrpack.model.roles import role_by_name
from mrpack.model.weight_formats import format_by_name

KIND: Final = "gguf"

_WORDS = re.compile(r"[-._ /]+")
_PROJECTOR: Final = "mmproj"
# What quantizers measured of a model: not one.
_STATISTICS: Final = "imatrix"
# Every engine runs it, on every device; BF16 is slow or missing on many.
_PREFERRED_PROJECTOR: Final = "F16"
_NAMES_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class _Model:
    """A file, or the shards of a set in order; `stem`: its path without shard number and suffix.

    `missing`: numbers of shards that the repository does not have.
    """

    stem: str
    label: str
    files: tuple[HubFile, ...]
    missing: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.stem.rpartition("/")[2]


def is_in(files: Iterable[HubFile]) -> bool:
    return any(_is_model(file) for file in files)


def choose(listing: HubListing, wish: str | None, projector: bool) -> Selection:  # noqa: FBT001
    """The only model, or the one that `wish` names: its quantization or the name of its file.

    With it go the projector, unless `projector` is false, and licences at the top of the repository.

    Raises:
        NotFound: there is no such model, or a shard of it is missing.
        UsageError: there are several, or several projectors; the message names them.
    """
    model = _choose_model(listing.repository, _find_models(listing.files), wish)
    first = model.files[0]
    found = _choose_projector(listing, first.folder) if projector else None
    licenses = [file for file in listing.files if _is_license(file)]
    return Selection(
        kind=KIND,
        files=(*model.files, *([found] if found else ()), *licenses),
        main=first.path,
        projector=found.path if found else "",
        licenses=tuple(file.path for file in licenses),
    )


def _is_model(file: HubFile) -> bool:
    """By its name, which is all there is before a download."""
    return format_by_name(file.path) == KIND and not _words(file) & {_PROJECTOR, _STATISTICS}


def _find_models(files: Sequence[HubFile]) -> list[_Model]:
    sets: dict[tuple[str, int], dict[int, HubFile]] = {}
    for file in files:
        if _is_model(file):
            stem, number, count = parse_shard_name(file.name)
            sets.setdefault((file.folder + stem, count), {})[number] = file
    return [
        _Model(
            stem,
            find_label(stem),
            tuple(shards[number] for number in sorted(shards)),
            tuple(number for number in range(1, count + 1) if number not in shards),
        )
        for (stem, count), shards in sorted(sets.items())
    ]


def _choose_model(repository: str, models: Sequence[_Model], wish: str | None) -> _Model:
    found = list(models) if wish is None else _matching(models, wish)
    if not found:
        raise NotFound(
            f"{repository} holds no GGUF model {wish or ''}".rstrip(),
            hint=f"it has {_names(models)}" if models else None,
        )
    if len(found) > 1:
        raise UsageError(
            f"{repository} holds several GGUF models{f' {wish}' if wish else ''}: {_names(found)}",
            hint=f"name one, such as hf.co/{repository}:{_short_names(found)[0]}",
        )
    (model,) = found
    if model.missing:
        raise NotFound(f"{repository} has no shard {model.missing[0]} of {model.stem}")
    return model


def _matching(models: Sequence[_Model], wish: str) -> list[_Model]:
    """The exact name of a file, else the exact label, else another word for it."""
    wanted = wish.upper()
    for matches in (
        lambda model: model.name.upper() == wanted,
        lambda model: model.label == wanted,
        lambda model: is_alias(model.label, wish),
    ):
        found = [model for model in models if matches(model)]
        if found:
            return found
    return []


def _names(models: Sequence[_Model]) -> str:
    names = _short_names(models)
    more = f", and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def _short_names(models: Sequence[_Model]) -> list[str]:
    """As `wish` takes them: labels, or names of files where labels repeat or miss."""
    labels = [model.label for model in models]
    return [model.label if model.label and labels.count(model.label) == 1 else model.name for model in models]


def _choose_projector(listing: HubListing, folder: str) -> HubFile | None:
    """Of those beside the model, else at the top: the only one, or the one whose label is exactly F16."""
    every = [file for file in listing.files if _is_projector(file)]
    found = [file for file in every if file.folder == folder] or [file for file in every if not file.folder]
    exact = [file for file in found if find_label(_stem(file)) == _PREFERRED_PROJECTOR]
    for candidates in (found, exact):
        if len(candidates) == 1:
            return candidates[0]
    if found:
        raise UsageError(
            f"{listing.repository} holds several projectors: {', '.join(file.name for file in found)}",
            hint=f"download one, then `mrpack package hf.co/{listing.repository} NAME --mmproj FILE`",
        )
    return None


def _is_projector(file: HubFile) -> bool:
    return format_by_name(file.path) == KIND and _PROJECTOR in _words(file)


def _is_license(file: HubFile) -> bool:
    text = PurePosixPath(file.path).suffix.lower() in {"", ".txt", ".md"}
    return not file.folder and text and role_by_name(file.path) is LayerRole.LICENSE


def _stem(file: HubFile) -> str:
    return file.folder + parse_shard_name(file.name)[0]


def _words(file: HubFile) -> set[str]:
    return set(_WORDS.split(file.name.lower()))

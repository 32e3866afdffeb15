"""The kinds of sources that can be packed, and how one is recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mrpack.errors import InvalidArtifact, NotFound, UsageError, from_os_error
from mrpack.formats.dduf import Advance
from mrpack.model.pipeline import INDEX_NAME
from mrpack.model.weight_formats import HEAD_SIZE, WEIGHT_FORMATS, format_by_content, is_file_format
from mrpack.packing.plan import Plan, Wishes
from mrpack.packing.plan_dduf import plan_dduf
from mrpack.packing.plan_folder import plan_diffusers, plan_safetensors
from mrpack.packing.plan_gguf import plan_gguf
from mrpack.packing.to_dduf import write_folder_as_dduf

Planner = Callable[[Path, Wishes], Plan]

PLANNERS: Final[Mapping[str, Planner]] = MappingProxyType(
    {"gguf": plan_gguf, "safetensors": plan_safetensors, "dduf": plan_dduf, "diffusers": plan_diffusers}
)
# What a folder's weights may be; of several the first.
_IN_FOLDERS: Final = ("safetensors", "gguf")


@dataclass(frozen=True, slots=True)
class SingleFile:
    """A format that holds a folder's files in one: `folder` is the kind of source, `write` makes the file."""

    folder: str
    write: Callable[[Path, Wishes, Path, Advance], None]


SINGLE_FILES: Final[Mapping[str, SingleFile]] = MappingProxyType(
    {"dduf": SingleFile("diffusers", write_folder_as_dduf)}
)


def detect(source: Path) -> str:
    """The kind of `source`: a file by its first bytes, a folder by its index or its weights.

    Raises:
        NotFound: nothing is there.
        UsageError: neither a file nor a folder.
        InvalidArtifact: it is no kind that can be packed.
    """
    if source.is_dir():
        return _detect_folder(source)
    try:
        # A pipe would be waited for.
        if not (source.is_file() or source.is_char_device()) and source.exists():
            raise UsageError(f"{source} is not a regular file")
        with source.open("rb") as file:
            head = file.read(HEAD_SIZE)
    except OSError as error:
        raise from_os_error(error, f"package {source}") from error
    if not head:
        raise InvalidArtifact("is empty", where=str(source))
    kind = format_by_content(head)
    if not kind:
        known = " nor ".join(name.upper() for name in WEIGHT_FORMATS if is_file_format(name))
        raise InvalidArtifact(
            f"is neither {known}", where=str(source), hint="other models are packaged by their folders"
        )
    if not is_file_format(kind):
        raise InvalidArtifact(f"is one file of a {kind} model", where=str(source), hint="package its folder")
    return kind


def _detect_folder(folder: Path) -> str:
    if (folder / INDEX_NAME).is_file():
        return "diffusers"
    suffixes = {path.suffix.lower() for path in folder.rglob("*") if path.is_file()}
    for kind in _IN_FOLDERS:
        if WEIGHT_FORMATS[kind].suffix in suffixes:
            return kind
    known = " or ".join(WEIGHT_FORMATS[kind].suffix for kind in _IN_FOLDERS)
    raise NotFound(f"no model files in {folder}", hint=f"weights are {known} files")

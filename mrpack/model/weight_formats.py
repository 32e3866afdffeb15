"""The formats of weight files: one row each, and how a file is recognised by its name or first bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

# How many first bytes `format_by_content` wants.
HEAD_SIZE: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """`in_folder`: a model is a folder of such files and their configs; else a file says all by itself."""

    name: str
    suffix: str
    begins: Callable[[bytes], bool]
    """Whether these can be the first `HEAD_SIZE` bytes of such a file."""
    in_folder: bool = False


def _begins_safetensors(head: bytes) -> bool:
    """With the length of its header, 64 bits and far below 2^32, and the header with a brace."""
    return head[4:9] == b"\x00\x00\x00\x00{"


_ROWS: Final = (
    WeightFormat(name="gguf", suffix=".gguf", begins=lambda head: head.startswith(b"GGUF")),
    WeightFormat(name="dduf", suffix=".dduf", begins=lambda head: head.startswith(b"PK\x03\x04")),
    WeightFormat(name="safetensors", suffix=".safetensors", begins=_begins_safetensors, in_folder=True),
)
WEIGHT_FORMATS: Final[Mapping[str, WeightFormat]] = MappingProxyType({row.name: row for row in _ROWS})
_BY_SUFFIX: Final = {row.suffix: row.name for row in _ROWS}


def is_file_format(name: str) -> bool:
    """Whether a model of this format is weight files with company, rather than a folder."""
    row = WEIGHT_FORMATS.get(name)
    return row is not None and not row.in_folder


def format_by_name(path: str) -> str:
    """The format of a weights file; empty when its name does not tell."""
    return _BY_SUFFIX.get(PurePosixPath(path.lower()).suffix, "")


def format_by_content(head: bytes) -> str:
    """The format of a weights file by its first `HEAD_SIZE` bytes; empty when they do not tell."""
    return next((row.name for row in _ROWS if row.begins(head)), "")

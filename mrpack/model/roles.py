"""What a file of a model is for, by its name; and a model's format, by name or first bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from mrpack.model.layer import ArtifactArchive, LayerRole

# Our own document of run-time settings.
OVERRIDES_PATH: Final = "mrpack.json"

# Written beside a layer only where its name and type do not tell the role; other tools pass over it.
ROLE: Final = "io.mrpack.role"

_FORMATS: Final[Mapping[str, str]] = MappingProxyType(
    {".gguf": "gguf", ".safetensors": "safetensors", ".dduf": "dduf"}
)
# Weights in formats that mrpack carries, but no engine of ours opens.
_FOREIGN_WEIGHTS: Final = frozenset({".bin", ".ckpt", ".h5", ".onnx", ".pt", ".pth", ".tflite"})
_LICENSES: Final = ("license", "licence", "copying", "notice")
_CONFIGS: Final = frozenset({".json", ".model", ".txt", ".vocab", ".yaml", ".yml"})
_DOCS: Final = frozenset({".md", ".rst", ".pdf"})

_DOCUMENTS: Final = frozenset({LayerRole.LICENSE, LayerRole.DOC})

# How many first bytes `format_by_content` wants.
HEAD_SIZE: Final = 9


def role_by_name(path: str) -> LayerRole:
    """OTHER when the name says nothing."""
    if path == OVERRIDES_PATH:
        return LayerRole.OVERRIDES
    name = PurePosixPath(path.lower())
    if name.suffix in _FORMATS:
        # Docker Model Runner goes by this word too; nothing else tells a projector in a generic layer.
        return LayerRole.MMPROJ if name.suffix == ".gguf" and "mmproj" in name.name else LayerRole.WEIGHTS
    if name.suffix == ".jinja":
        return LayerRole.CHAT_TEMPLATE
    if name.suffix in _FOREIGN_WEIGHTS:
        return LayerRole.WEIGHTS
    if any(word in name.name for word in _LICENSES):
        return LayerRole.LICENSE
    if name.suffix in _DOCS:
        return LayerRole.DOC
    return LayerRole.CONFIG if name.suffix in _CONFIGS else LayerRole.OTHER


def role_in_archive(archive: ArtifactArchive, path: str, head: bytes, *, alone: bool) -> LayerRole:
    """Of a file that came out of `archive`; `head` are its first bytes, `alone`: it is the only one."""
    named = role_by_name(path)
    if not archive.named or (archive.role is LayerRole.DOC and named not in _DOCUMENTS):
        return archive.role
    if named is not LayerRole.OTHER:
        return named
    if archive.role is LayerRole.CONFIG:
        return LayerRole.CONFIG
    weights = format_by_content(head) or (alone and archive.role is LayerRole.WEIGHTS)
    return LayerRole.WEIGHTS if weights else LayerRole.OTHER


def format_by_name(path: str) -> str:
    """The format of a weights file; empty when its name does not tell."""
    return _FORMATS.get(PurePosixPath(path.lower()).suffix, "")


def format_by_content(head: bytes) -> str:
    """The format of a weights file by its first `HEAD_SIZE` bytes; empty when they do not tell.

    Safetensors starts with the length of its header, 64 bits and far below 2^32, and the header with a brace.
    """
    if head.startswith(b"GGUF"):
        return "gguf"
    if head.startswith(b"PK\x03\x04"):
        return "dduf"
    return "safetensors" if head[4:9] == b"\x00\x00\x00\x00{" else ""

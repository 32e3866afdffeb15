"""What a file of a model is for, by its name."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from mrpack.model.layer import ArtifactArchive, LayerRole
from mrpack.model.weight_formats import format_by_content, format_by_name

# Our own document of run-time settings.
OVERRIDES_PATH: Final = "mrpack.json"

# Written beside a layer only where its name and type do not tell the role; other tools pass over it.
ROLE: Final = "io.mrpack.role"

# Weights in formats that mrpack carries, but no engine of ours opens.
_FOREIGN_WEIGHTS: Final = frozenset({".bin", ".ckpt", ".h5", ".onnx", ".pt", ".pth", ".tflite"})
_LICENSES: Final = ("license", "licence", "copying", "notice")
_CONFIGS: Final = frozenset({".json", ".model", ".txt", ".vocab", ".yaml", ".yml"})
_DOCS: Final = frozenset({".md", ".rst", ".pdf"})

_DOCUMENTS: Final = frozenset({LayerRole.LICENSE, LayerRole.DOC})


def role_by_name(path: str) -> LayerRole:
    """OTHER when the name says nothing."""
    if path == OVERRIDES_PATH:
        return LayerRole.OVERRIDES
    name = PurePosixPath(path.lower())
    if format_by_name(path):
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

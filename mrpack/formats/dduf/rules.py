"""What may be in a DDUF file and under which names: the published rules, without their loopholes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Final

from mrpack.errors import InvalidArtifact
from mrpack.model.filepath import check_tree
from mrpack.model.pipeline import INDEX_NAME, Pipeline

# huggingface_hub 2.4.0, `DDUF_ALLOWED_ENTRIES` and `DDUF_FOLDER_REQUIRED_ENTRIES`; case counts.
_SUFFIXES: Final = frozenset({".json", ".model", ".safetensors", ".txt"})
_CONFIG_NAMES: Final = (
    "config.json",
    "preprocessor_config.json",
    "scheduler_config.json",
    "tokenizer_config.json",
)


def reason_against(name: str) -> str:
    """Why a file cannot be in a DDUF file under this name; empty when it can."""
    path = PurePosixPath(name)
    if path.suffix not in _SUFFIXES:
        return f"only {', '.join(sorted(_SUFFIXES))} files may be in a DDUF file"
    if len(path.parts) > 2:
        return "a DDUF file has only one level of folders"
    return ""


def check_names(names: Collection[str], where: str) -> None:
    """Raises InvalidArtifact for a name that is not allowed, or of which some system would make another's."""
    check_tree(names, where)
    for name in names:
        reason = reason_against(name)
        if reason:
            raise InvalidArtifact(f"bad entry {name[:120]!r}: {reason}", where=where)
    if INDEX_NAME not in names:
        raise InvalidArtifact(f"has no {INDEX_NAME}", where=where)


def check_structure(pipeline: Pipeline, names: Collection[str], where: str) -> None:
    """Every folder is in the index, and every component of the index has its folder, each with a config.

    Raises:
        InvalidArtifact: names the folder.
    """
    folders = {folder for folder, slash, _ in (name.partition("/") for name in names) if slash}
    for folder in sorted(folders - pipeline.names):
        raise InvalidArtifact(f"has the folder {folder!r}, which {INDEX_NAME} does not name", where=where)
    for component in pipeline.components:
        if component.name not in folders:
            raise InvalidArtifact(f"has no folder for the component {component.name!r}", where=where)
    for folder in sorted(folders):
        if not any(f"{folder}/{config}" in names for config in _CONFIG_NAMES):
            raise InvalidArtifact(f"folder {folder!r} has none of {', '.join(_CONFIG_NAMES)}", where=where)

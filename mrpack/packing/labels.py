"""Labels for an artifact whose own config says too little of its model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mrpack.errors import InvalidArtifact
from mrpack.formats import gguf
from mrpack.model.artifact import ModelArtifact
from mrpack.model.config import ModelConfig
from mrpack.model.layer import ArtifactFile, LayerRole
from mrpack.readable import ReadableFile

# Its files say themselves what they are, in their first bytes.
_SPEAKING: Final = "gguf"


def labelled(artifact: ModelArtifact, open_file: Callable[[ArtifactFile], ReadableFile]) -> ModelArtifact:
    """With what the headers of its weights say, where its config lacks architecture or parameters.

    So it is with some models of Ollama, and with files that carry no config at all. A header that is broken
    is left to whoever serves the model.
    """
    weights = artifact.with_role(LayerRole.WEIGHTS)
    is_described = artifact.config.architecture and artifact.config.parameters
    if not weights or is_described or any(file.format != _SPEAKING for file in weights):
        return artifact
    files = [open_file(file) for file in weights]
    try:
        headers = [gguf.parse_header(file.read_at, file.size, file.where) for file in files]
    except InvalidArtifact:
        return artifact
    return replace(artifact, config=relabelled(artifact.config, gguf.describe(headers)))


def relabelled(config: ModelConfig, found: ModelConfig) -> ModelConfig:
    """`found` in the files, with what only the `config` of the artifact can say."""
    return replace(
        found,
        created=config.created,
        context_size=config.context_size or found.context_size,
        extra=config.extra,
    )

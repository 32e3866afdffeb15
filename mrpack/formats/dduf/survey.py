"""From a DDUF file to what an artifact says about it."""

from __future__ import annotations

from typing import Final

from mrpack.formats.dduf.archive import DdufArchive
from mrpack.model.amounts import decimal_count, decimal_size
from mrpack.model.config import ModelConfig
from mrpack.model.weights import ReadWeights, read_components

_LAYOUT: Final = "dduf"


def survey(archive: DdufArchive, read_weights: ReadWeights) -> ModelConfig:
    """The labels of Docker Model Runner, and what it does not look for: pipeline, components, weights.

    Raises:
        InvalidArtifact: the weights of a component are malformed.
        NotFound: a shard of theirs is missing.
    """
    pipeline = archive.pipeline
    weights = read_components(
        archive.files, (component.name for component in pipeline.components), read_weights
    )
    return ModelConfig(
        format="dduf",
        quantization=weights.quantization,
        parameters=decimal_count(weights.parameters),
        architecture="diffusers",
        size=decimal_size(archive.file.size),
        metadata={"dduf_file": archive.file.name, "layout": _LAYOUT, **pipeline.to_metadata()},
    )

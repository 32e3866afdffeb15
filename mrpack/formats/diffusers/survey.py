"""From a Diffusers folder to what an artifact says about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mrpack.formats.diffusers.folder import read_pipeline
from mrpack.model.amounts import decimal_count, decimal_size
from mrpack.model.config import ModelConfig
from mrpack.model.weights import ReadWeights, read_components
from mrpack.readable import ReadableFile

_LAYOUT: Final = "folder"


def survey(files: Sequence[ReadableFile], read_weights: ReadWeights) -> ModelConfig:
    """What an artifact says about the pipeline that `files`, all of its folder, are.

    Its format is `diffusers`, by which Docker Model Runner chooses its Diffusers engine, though that opens
    DDUF files alone. For `safetensors`, which it would write itself, it starts vLLM: of no use either.

    Raises:
        NotFound: a component or a shard is missing.
        InvalidArtifact: the index or the weights of a component are malformed.
    """
    pipeline = read_pipeline(files)
    weights = read_components(files, (component.name for component in pipeline.components), read_weights)
    return ModelConfig(
        format="diffusers",
        quantization=weights.quantization,
        parameters=decimal_count(weights.parameters),
        architecture="diffusers",
        size=decimal_size(weights.size),
        metadata={"layout": _LAYOUT, **pipeline.to_metadata()},
    )

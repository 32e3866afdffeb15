"""From the files of a Safetensors model to what an artifact says about it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from mrpack.errors import NotFound
from mrpack.formats.safetensors.configuration import Configuration, read_configuration
from mrpack.formats.safetensors.counting import Stored, count_parameters
from mrpack.formats.safetensors.shards import WeightSet, find_sets, is_weights, read_set
from mrpack.model.amounts import decimal_count, decimal_size
from mrpack.model.config import ModelConfig
from mrpack.model.weights import Weights
from mrpack.readable import ReadableFile

# A config is read by every tool that lists models; training logs in `__metadata__` can have megabytes.
METADATA_VALUE_LIMIT: Final = 64 * 1024

# The same weights under the names of Mistral's own loader, beside those of Transformers.
_SECOND_COPY: Final = "consolidated"
# Folders of Sentence Transformers for what follows the encoder, such as `2_Dense`.
_MODULE = re.compile(r"[0-9]+_\w+/")


def survey(files: Sequence[ReadableFile]) -> ModelConfig:
    """What an artifact says about the model that `files`, all of its folder, are.

    Labels have the form of Docker Model Runner, but are true: they count all shards, and read the configs.

    Raises:
        NotFound: no weights, or a shard is missing.
        InvalidArtifact: a weight file, an index or a config is malformed, or they contradict each other.
    """
    found = _read(files)
    if found is None:
        raise NotFound("no Safetensors weights among the files of the model")
    weights, configuration = found
    return ModelConfig(
        format="safetensors",
        quantization=weights.quantization or "unknown",
        parameters=decimal_count(weights.parameters),
        architecture=configuration.architecture or weights.metadata.get("architecture", ""),
        size=decimal_size(weights.size),
        metadata={**weights.metadata, "tensor_count": str(weights.tensor_count)},
        context_size=configuration.context_size,
    )


def read_weights(files: Sequence[ReadableFile]) -> Weights | None:
    """The ReadWeights of this format."""
    found = _read(files)
    return found[0] if found else None


def _read(files: Sequence[ReadableFile]) -> tuple[Weights, Configuration] | None:
    sets = find_sets(files)
    if not sets:
        return None
    model = _model_of(sets)
    configuration = read_configuration(files, model[0].folder)
    tally = _Tally()
    # The shortest name first: a variant such as `model.fp16` repeats the tensors of `model`.
    for weights in sorted(model, key=lambda weights: (len(weights.name), weights.name)):
        tally.add(weights)
    for weights in sets:
        if weights not in model:
            for _ in read_set(weights):
                pass
    return tally.sum(configuration, sum(file.size for file in files if is_weights(file.name))), configuration


def _model_of(sets: Sequence[WeightSet]) -> list[WeightSet]:
    """The sets that make up the model; the others are copies, or models in folders of their own."""
    top = min(weights.folder.count("/") for weights in sets)
    nearest = [weights for weights in sets if weights.folder.count("/") == top]
    model = [weights for weights in nearest if not _is_second_copy(weights)] or nearest
    modules = [weights for weights in sets if _MODULE.fullmatch(weights.folder)] if not top else []
    return model + modules


def _is_second_copy(weights: WeightSet) -> bool:
    return weights.name[len(weights.folder) :].startswith(_SECOND_COPY)


@dataclass(slots=True)
class _Tally:
    """Tensors of all sets of a model; one that several sets hold counts once."""

    tensors: dict[str, Stored] = field(default_factory=dict)
    bytes_by_dtype: Counter[str] = field(default_factory=Counter)
    metadata: dict[str, str] = field(default_factory=dict)

    def add(self, weights: WeightSet) -> None:
        kinds: dict[Stored, Stored] = {}
        for header in read_set(weights):
            for key, value in header.metadata.items():
                if len(value) <= METADATA_VALUE_LIMIT:
                    self.metadata.setdefault(key, value)
            for tensor in header.tensors:
                name = weights.folder + tensor.name
                if name not in self.tensors:
                    stored = Stored(tensor.dtype, tensor.shape)
                    self.tensors[name] = kinds.setdefault(stored, stored)
                    self.bytes_by_dtype[tensor.dtype] += tensor.size

    def sum(self, configuration: Configuration, size: int) -> Weights:
        scheme = configuration.scheme
        return Weights(
            parameters=count_parameters(self.tensors, scheme),
            size=size,
            tensor_count=len(self.tensors),
            quantization=scheme.label if scheme else _dominant(self.bytes_by_dtype),
            metadata=self.metadata,
        )


def _dominant(bytes_by_dtype: Counter[str]) -> str:
    """The data type of most bytes; empty when there are none."""
    return max(sorted(bytes_by_dtype), key=lambda dtype: bytes_by_dtype[dtype], default="")

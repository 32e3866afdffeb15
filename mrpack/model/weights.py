"""What the weight files of a model hold, whatever their format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mrpack.readable import ReadableFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """`parameters` counts values as trained, packed ones unpacked; `size` is the bytes of all weight files.

    `quantization` is the label for the whole, empty when nothing tells; `metadata` the files' own.
    """

    parameters: int
    size: int
    tensor_count: int
    quantization: str
    metadata: Mapping[str, str] = field(default_factory=dict)


ReadWeights = Callable[[Sequence[ReadableFile]], Weights | None]
"""Checks and counts the weights in one folder, given all files there; None when there are none.

The port through which a format that is made of another's files (a pipeline of Safetensors) has them read.
Configs beside the weights are honoured.

Raises:
    InvalidArtifact: a weight file is malformed, or a set of shards does not fit together.
    NotFound: a shard is missing.
"""


def read_components(
    files: Iterable[ReadableFile], components: Iterable[str], read_weights: ReadWeights
) -> Weights:
    """The weights of a model whose components lie in folders; the largest names the quantization.

    What lies elsewhere is checked too but does not count. Raises as `read_weights`.
    """
    rest = {file.name: file for file in files}
    found: list[Weights] = []
    for component in components:
        prefix = f"{component}/"
        own = [name for name in rest if name.startswith(prefix)]
        weights = read_weights([replace(rest.pop(name), name=name.removeprefix(prefix)) for name in own])
        if weights:
            found.append(weights)
    read_weights(list(rest.values()))
    largest = max(found, key=lambda weights: weights.size, default=None)
    return Weights(
        parameters=sum(weights.parameters for weights in found),
        size=sum(weights.size for weights in found),
        tensor_count=sum(weights.tensor_count for weights in found),
        quantization=largest.quantization if largest else "",
    )

"""What the header of a Safetensors file says, as values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """`begin` and `end` are byte offsets from the start of the data."""

    name: str
    dtype: str
    shape: Shape
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.begin

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsHeader:
    """A header that was checked against the size of its file; `metadata` is its `__metadata__`.

    `data_offset`: bytes up to the tensor data. `tensors` are in the order of the header, not of offsets.
    """

    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, str]
    data_offset: int
    file_size: int

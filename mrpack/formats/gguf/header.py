"""What the header of a GGUF file says, as values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mrpack.formats.gguf.types import TensorType, ValueType

GgufKind = Literal["model", "adapter", "mmproj", "imatrix", "control-vector", "vocabulary"]
"""What a GGUF file is for; only a "model" can be loaded by itself."""

# `general.type` as llama.cpp writes it; older files lack it and are told apart by their architecture.
_KIND_OF_TYPE: Mapping[str, GgufKind] = {"adapter": "adapter", "mmproj": "mmproj", "imatrix": "imatrix"}
_KIND_OF_ARCHITECTURE: Mapping[str, GgufKind] = {
    "clip": "mmproj",
    "imatrix": "imatrix",
    "controlvector": "control-vector",
}


@dataclass(frozen=True, slots=True)
class GgufArray:
    """An array value. `items` is None for one too long to be kept; its elements were skipped, not read."""

    element: ValueType
    length: int
    items: tuple[Scalar, ...] | None


Scalar = bool | int | float | str
Value = Scalar | GgufArray
"""Text is exactly as in the file; bytes that are not UTF-8 are surrogate escapes."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """`shape` has the fastest varying dimension first; `offset` is counted from the data, `size` in bytes."""

    name: str
    type: TensorType
    shape: tuple[int, ...]
    offset: int
    size: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """A header that was checked against the size of its file.

    `header_size`: bytes up to the end of the tensor list; `data_offset`: bytes up to the tensor data.
    """

    version: int
    values: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    alignment: int
    header_size: int
    data_offset: int
    file_size: int

    @property
    def kind(self) -> GgufKind:
        """By `general.type`, then by architecture, then by what else is there; unknown types are models."""
        if "controlvector.model_hint" in self.values:
            return "control-vector"
        kind = _KIND_OF_TYPE.get(self.text("general.type")) or _KIND_OF_ARCHITECTURE.get(self.architecture)
        if kind:
            return kind
        if not self.tensors and (self.number("split.count") or 1) == 1:
            return "vocabulary"
        return "model"

    @property
    def architecture(self) -> str:
        """`general.architecture`, empty when the file does not say."""
        return self.text("general.architecture")

    def text(self, key: str) -> str:
        """A string without the white space around it; empty when the key is absent or something else."""
        value = self.values.get(key)
        return value.strip() if isinstance(value, str) else ""

    def number(self, key: str) -> int | None:
        value = self.values.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

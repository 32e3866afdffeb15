"""Safetensors: reading headers, sets of shards, and what an artifact says about such a model."""

from mrpack.formats.safetensors.header import SafetensorsHeader, Tensor
from mrpack.formats.safetensors.reader import parse_header, read_header
from mrpack.formats.safetensors.shards import WeightSet, find_sets, is_weights, read_set
from mrpack.formats.safetensors.survey import read_weights, survey

__all__ = [
    "SafetensorsHeader",
    "Tensor",
    "WeightSet",
    "find_sets",
    "is_weights",
    "parse_header",
    "read_header",
    "read_set",
    "read_weights",
    "survey",
]

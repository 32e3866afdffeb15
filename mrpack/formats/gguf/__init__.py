"""GGUF: reading headers, finding shards, and what an artifact says about a GGUF model."""

from mrpack.formats.gguf.header import GgufArray, GgufHeader, GgufKind, Tensor
from mrpack.formats.gguf.labels import describe
from mrpack.formats.gguf.reader import parse_header, read_header
from mrpack.formats.gguf.shards import check_shards, find_shards, parse_shard_name
from mrpack.formats.gguf.survey import survey

__all__ = [
    "GgufArray",
    "GgufHeader",
    "GgufKind",
    "Tensor",
    "check_shards",
    "describe",
    "find_shards",
    "parse_header",
    "parse_shard_name",
    "read_header",
    "survey",
]

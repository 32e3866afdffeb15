"""From the files of a GGUF model to what an artifact says about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mrpack.formats.gguf.labels import describe
from mrpack.formats.gguf.reader import read_header
from mrpack.formats.gguf.shards import check_shards
from mrpack.model.config import ModelConfig


def survey(paths: Sequence[Path]) -> ModelConfig:
    """The labels of a model from all its files, in shard order (`find_shards`).

    Raises:
        InvalidArtifact: a file is no GGUF, or the files are not the shards of one model.
    """
    headers = [read_header(path) for path in paths]
    check_shards(paths, headers)
    return describe(headers)

"""GGUF models that are split into several files, as llama.cpp splits them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from mrpack.errors import InvalidArtifact, NotFound
from mrpack.formats.gguf.header import GgufHeader

# llama.cpp, llama_split_path: "%s-%05d-of-%05d.gguf".
_SHARD = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})\.gguf", re.DOTALL)


def parse_shard_name(name: str) -> tuple[str, int, int]:
    """What the files of a set have in common, the number of this one, and how many there are.

    A file that is no shard is the only one of its set.
    """
    match = _SHARD.fullmatch(name)
    if match is None:
        return name.removesuffix(".gguf"), 1, 1
    return match[1], int(match[2]), int(match[3])


def find_shards(path: Path) -> tuple[Path, ...]:
    """All shards of the set that `path` is any one of, in order; `path` alone when it is no shard.

    Raises:
        NotFound: names the missing file.
        InvalidArtifact: a shard number that its set does not have.
    """
    match = _SHARD.fullmatch(path.name)
    if match is None:
        return (_existing(path),)
    number, count = int(match[2]), int(match[3])
    if not 0 < number <= count:
        raise InvalidArtifact(f"shard {number} of a set of {count} shards", where=str(path))
    return tuple(
        _existing(path.with_name(f"{match[1]}-{index:05}-of-{count:05}.gguf"))
        for index in range(1, count + 1)
    )


def check_shards(paths: Sequence[Path], headers: Sequence[GgufHeader]) -> None:
    """Refuse shards that llama.cpp would not put together.

    Raises:
        InvalidArtifact: the headers do not say that these files, in this order, are all of one model.
    """
    seen: dict[str, Path] = {}
    for index, (path, header) in enumerate(zip(paths, headers, strict=True)):
        count = header.number("split.count") or 1
        number = header.number("split.no") or 0
        if count != len(paths):
            raise InvalidArtifact(
                f"says it is one of {count} files, but there are {len(paths)}", where=str(path)
            )
        if number != index:
            raise InvalidArtifact(f"is shard {number + 1} but named as shard {index + 1}", where=str(path))
        for tensor in header.tensors:
            other = seen.setdefault(tensor.name, path)
            if other != path:
                raise InvalidArtifact(f"tensor {tensor.name!r} is also in {other.name}", where=str(path))
    promised = headers[0].number("split.tensors.count") if headers else None
    if promised is not None and promised != len(seen):
        raise InvalidArtifact(f"promises {promised} tensors, but there are {len(seen)}", where=str(paths[0]))


def _existing(path: Path) -> Path:
    if not os.path.lexists(path):
        raise NotFound(f"no such file: {path}")
    return path

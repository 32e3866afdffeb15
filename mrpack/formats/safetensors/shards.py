"""Weights that are split into several files, and the index that says which tensor is in which."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mrpack.errors import InvalidArtifact, NotFound
from mrpack.formats.safetensors.header import SafetensorsHeader
from mrpack.formats.safetensors.reader import parse_file
from mrpack.formats.safetensors.scanner import Scanner
from mrpack.readable import ReadableFile

# A model of a trillion parameters, with 140,000 tensors, has 15 MB.
INDEX_LIMIT: Final = 64 * 1024 * 1024
# Over all shards of a set.
TENSORS_LIMIT: Final = 262_144
# Keys beside `weight_map`: there is one, `metadata`.
_OTHER_KEYS_LIMIT: Final = 64

_SUFFIX: Final = ".safetensors"
# `model.safetensors.index.json`, and with a variant `model.safetensors.index.fp16.json`.
_INDEX = re.compile(r"(?:.*/)?[^/]+\.safetensors\.index(?:\.[^/]+)?\.json")
_SHARD = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})\.safetensors", re.DOTALL)


@dataclass(frozen=True, slots=True)
class WeightSet:
    """Files that hold the weights of one thing together, in shard order.

    `listed`, by the index if there is one: the file that each tensor is in.
    """

    name: str
    files: tuple[ReadableFile, ...]
    listed: Mapping[str, str] | None = None

    @property
    def folder(self) -> str:
        """Where it lies: empty, or ending in a slash."""
        return self.name[: self.name.rfind("/") + 1]


def is_weights(name: str) -> bool:
    return name.lower().endswith(_SUFFIX)


def find_sets(files: Iterable[ReadableFile]) -> tuple[WeightSet, ...]:
    """All sets among the files of a model, by name; no shard is missing, and none left over.

    Raises:
        NotFound: names the missing file.
        InvalidArtifact: an index is malformed, or there are shards that it does not list.
    """
    by_name = {file.name: file for file in sorted(files, key=lambda file: file.name)}
    sets: list[WeightSet] = []
    taken: dict[str, str] = {}
    for file in by_name.values():
        if _INDEX.fullmatch(file.name):
            indexed = _indexed_set(file, by_name)
            sets.append(indexed)
            taken |= dict.fromkeys((shard.name for shard in indexed.files), file.name)
    _refuse_left_over(by_name, taken)
    for name, file in by_name.items():
        if is_weights(name) and name not in taken:
            shards = _numbered_set(name, by_name)
            taken |= dict.fromkeys((shard.name for shard in shards), name)
            sets.append(WeightSet(_stem(name), shards or (file,)))
    return tuple(sets)


def read_set(weights: WeightSet) -> Iterator[SafetensorsHeader]:
    """The headers in shard order; the last is followed by the checks that need them all.

    Raises:
        InvalidArtifact: a malformed file, a tensor twice, or not exactly those that the index lists.
    """
    if weights.listed is None:
        yield from _read_unlisted(weights)
        return
    missing = dict(weights.listed)
    for file in weights.files:
        header = parse_file(file)
        own = file.name[len(weights.folder) :]
        for tensor in header.tensors:
            shard = missing.pop(tensor.name, None)
            if shard != own:
                reason = (
                    f"which the index has in {shard[:80]!r}"
                    if shard
                    else "which the index does not have there"
                )
                raise InvalidArtifact(f"holds tensor {tensor.name[:80]!r}, {reason}", where=file.where)
        yield header
    for name, shard in missing.items():
        raise InvalidArtifact(
            f"has no tensor {name[:80]!r}, though the index says so", where=weights.folder + shard
        )


def _read_unlisted(weights: WeightSet) -> Iterator[SafetensorsHeader]:
    seen: dict[str, str] = {}
    for file in weights.files:
        header = parse_file(file)
        for tensor in header.tensors:
            other = seen.setdefault(tensor.name, file.name)
            if other != file.name:
                raise InvalidArtifact(f"tensor {tensor.name[:80]!r} is also in {other}", where=file.where)
        yield header


def _indexed_set(index: ReadableFile, by_name: Mapping[str, ReadableFile]) -> WeightSet:
    folder = index.name[: index.name.rfind("/") + 1]
    listed = _read_index(index)
    names = sorted({folder + shard for shard in listed.values()})
    if not names:
        raise InvalidArtifact("lists no tensor", where=index.where)
    return WeightSet(_stem(names[0]), tuple(_existing(name, by_name, index.name) for name in names), listed)


def _read_index(index: ReadableFile) -> dict[str, str]:
    """Tensor to file name."""
    scanner = Scanner(index.read(limit=INDEX_LIMIT), index.where)
    listed: dict[str, str] | None = None
    for number, key in enumerate(scanner.keys("index")):
        if number > _OTHER_KEYS_LIMIT:
            raise scanner.error(f"more than {_OTHER_KEYS_LIMIT} keys")
        if key != "weight_map":
            scanner.other_value(repr(key[:80]))
            continue
        if listed is not None:
            raise scanner.error("weight_map: occurs twice")
        listed = scanner.texts("weight_map", limit=TENSORS_LIMIT)
    scanner.finish("index")
    if listed is None:
        raise scanner.error("has no weight_map")
    for tensor, shard in listed.items():
        listed[tensor] = sys.intern(shard)
    for shard in set(listed.values()):
        if "/" in shard or not is_weights(shard):
            raise scanner.error(f"weight_map: {shard[:80]!r} is no Safetensors file in its folder")
    return listed


def _refuse_left_over(by_name: Mapping[str, ReadableFile], taken: Mapping[str, str]) -> None:
    """Shards with the name of an index that does not list them: of another version, or a broken copy."""
    indexes = {_stem(name): index for name, index in taken.items()}
    for name in by_name:
        index = indexes.get(_stem(name))
        if name not in taken and index and _SHARD.fullmatch(name):
            raise InvalidArtifact(f"is not listed in {index}", where=by_name[name].where)


def _numbered_set(name: str, by_name: Mapping[str, ReadableFile]) -> tuple[ReadableFile, ...]:
    """All shards of the set that `name` is one of; empty when it is no shard."""
    match = _SHARD.fullmatch(name)
    if match is None:
        return ()
    number, count = int(match[2]), int(match[3])
    if not 0 < number <= count:
        raise InvalidArtifact(f"shard {number} of a set of {count} shards", where=by_name[name].where)
    names: Sequence[str] = [f"{match[1]}-{shard:05}-of-{count:05}{_SUFFIX}" for shard in range(1, count + 1)]
    return tuple(_existing(shard, by_name, name) for shard in names)


def _existing(name: str, by_name: Mapping[str, ReadableFile], wanted_by: str) -> ReadableFile:
    file = by_name.get(name)
    if file is None:
        raise NotFound(f"no file {name[:200]!r}, which {wanted_by} belongs with")
    return file


def _stem(name: str) -> str:
    """What the files of a set have in common."""
    match = _SHARD.fullmatch(name)
    return match[1] if match else name[: -len(_SUFFIX)]

"""The plan for GGUF: a file, a set of shards, or one model out of a folder of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from mrpack.errors import InvalidArtifact, NotFound, UsageError
from mrpack.formats.gguf import check_shards, describe, find_shards, read_header
from mrpack.model.config import ModelConfig
from mrpack.model.layer import LayerRole, PlannedLayer
from mrpack.model.quantization import find_quantization
from mrpack.packing.extras import extra_layers
from mrpack.packing.plan import Plan, Wishes, finish
from mrpack.packing.walk import walk

_KIND_HINTS: Final = {
    "mmproj": "pass it with --mmproj beside the model",
    "adapter": "pass it with --lora beside the model",
}


def plan_gguf(path: Path, wishes: Wishes) -> Plan:
    """One GGUF file, or all shards of a set of which any is given; of a folder, the one model asked for.

    Raises:
        NotFound: the file, or a shard of the set, is missing.
        InvalidArtifact: not a GGUF model; the message says what it is instead.
        UsageError: a folder holds several models, and which one is meant is not said; or a file has another
            quantization than the one that is asked for.
    """
    if path.is_dir():
        path = _choose(path, wishes)
    elif wishes.quantization is not None:
        _check_quantization(path, wishes.quantization)
    wishes.facts.of(path)
    shards = find_shards(path)
    names = [shard.name for shard in shards]
    if wishes.file_name is not None and len(shards) == 1:
        names = [wishes.file_name]
    layers = [
        PlannedLayer(
            path=name,
            role=LayerRole.WEIGHTS,
            format="gguf",
            content=shard,
            metadata=replace(wishes.facts.of(shard), name=name),
        )
        for shard, name in zip(shards, names, strict=True)
    ]
    config = _read_model(shards)
    return finish(
        config,
        [*layers, *extra_layers(wishes.extras, wishes.facts, beside=config.format)],
        wishes,
        folder=False,
    )


def _read_model(shards: Sequence[Path]) -> ModelConfig:
    headers = [read_header(shard) for shard in shards]
    for shard, header in zip(shards, headers, strict=True):
        if header.kind != "model":
            raise InvalidArtifact(
                f"is a GGUF of kind {header.kind!r}, not a model",
                where=str(shard),
                hint=_KIND_HINTS.get(header.kind),
            )
    check_shards(shards, headers)
    return describe(headers)


def _choose(folder: Path, wishes: Wishes) -> Path:
    """The first shard of the only model in `folder`, or of the one with the quantization that is wanted."""
    found: dict[str, Path] = {}
    for _, file in walk(folder, wishes.choice):
        if file.suffix.lower() == ".gguf" and file not in found.values():
            first = find_shards(file)[0]
            header = read_header(first)
            if header.kind == "model":
                found[str(first.relative_to(folder))] = first
    if wishes.quantization is not None:
        found = {name: file for name, file in found.items() if _is_quantized(file, wishes.quantization)}
    names = ", ".join(sorted(found)) or "none"
    if not found:
        wanted = f" quantized as {wishes.quantization}" if wishes.quantization else ""
        raise NotFound(f"no GGUF model{wanted} in {folder}")
    if len(found) > 1:
        raise UsageError(
            f"{folder} holds several GGUF models: {names}", hint="give the file, or --quantization NAME"
        )
    return next(iter(found.values()))


def _check_quantization(file: Path, wanted: str) -> None:
    if not _is_quantized(file, wanted):
        label = _label(file).removeprefix("MOSTLY_")
        raise UsageError(
            f"{file} is quantized as {label}, not as {wanted}"
            if label
            else f"{file} does not say how it is quantized, so not as {wanted}",
            hint="leave --quantization out, or give another file; --quantize makes one",
        )


def _is_quantized(file: Path, wanted: str) -> bool:
    """By the header's label, never by a part of a file's name."""
    quantization = find_quantization(_label(file))
    return quantization is not None and quantization == find_quantization(wanted)


def _label(file: Path) -> str:
    return describe([read_header(shard) for shard in find_shards(file)]).quantization

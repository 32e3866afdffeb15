"""Safetensors models in memory, as the readers want them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mrpack.readable import ReadableFile
from tests.fakes.raw_safetensors import Content, index, safetensors


def in_memory(files: Mapping[str, bytes | str | dict]) -> list[ReadableFile]:
    opened_files = []
    for name, content in files.items():
        text = json.dumps(content) if isinstance(content, dict) else content
        raw = text.encode() if isinstance(text, str) else text
        opened_files.append(
            ReadableFile(
                name=name,
                where=name,
                size=len(raw),
                read_at=lambda offset, count, raw=raw: raw[offset : offset + count],
            )
        )
    return opened_files


def one_file(
    tensors: Mapping[str, Content] | None = None, **others: bytes | str | dict
) -> list[ReadableFile]:
    """A model in one file, and other files, `__` standing for the dot in their names."""
    weights = safetensors(tensors or {"w": Content("BF16", [8, 8])})
    named = {name.replace("__", "."): content for name, content in others.items()}
    return in_memory({"model.safetensors": weights, **named})


def sharded(**changes: bytes | str | dict | None) -> list[ReadableFile]:
    """Two shards and their index; files are replaced or, by None, taken away."""
    names = {"first": "model-00001-of-00002.safetensors", "second": "model-00002-of-00002.safetensors"}
    files: dict[str, bytes | str | dict | None] = {
        names["first"]: safetensors({"a": Content("F16", [4])}),
        names["second"]: safetensors({"b": Content("F16", [4])}),
        "model.safetensors.index.json": index({"a": names["first"], "b": names["second"]}, total_size=16),
    }
    files |= {names.get(key, "model.safetensors.index.json"): value for key, value in changes.items()}
    return in_memory({name: content for name, content in files.items() if content is not None})


def compressed_tensors(weights: dict, inputs: dict | None = None, form: str = "pack-quantized") -> dict:
    group = {"weights": weights, "input_activations": inputs, "targets": ["Linear"]}
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": group}}

"""The plans for folders: Safetensors models and Diffusers pipelines, one layer a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from mrpack.formats import diffusers, safetensors
from mrpack.model.config import ModelConfig
from mrpack.model.layer import LayerRole, PlannedLayer
from mrpack.model.roles import role_by_name
from mrpack.model.weight_formats import format_by_name
from mrpack.packing.extras import extra_layers
from mrpack.packing.plan import Plan, Wishes, finish, refuse_code, refuse_context_size, refuse_quantization
from mrpack.packing.walk import walk
from mrpack.readable import ReadableFile, open_file


def plan_safetensors(folder: Path, wishes: Wishes) -> Plan:
    """A folder as Hugging Face has it: weights, config, tokenizer, nested folders.

    Raises:
        NotFound: no folder, no weights, or a shard that the index names is missing.
        InvalidArtifact: a malformed file, shards that do not fit together, code, links out of the folder.
    """
    return _plan(folder, wishes, safetensors.survey)


def plan_diffusers(folder: Path, wishes: Wishes) -> Plan:
    """A pipeline as Diffusers saves it, recognised by its `model_index.json`. Raises as plan_safetensors."""
    refuse_context_size(wishes)
    return _plan(folder, wishes, lambda files: diffusers.survey(files, safetensors.read_weights))


def _plan(folder: Path, wishes: Wishes, survey: Callable[[Sequence[ReadableFile]], ModelConfig]) -> Plan:
    refuse_quantization(wishes)
    found = walk(folder, wishes.choice)
    files = [open_file(file, path) for path, file in found]
    code = refuse_code(files, wishes)
    config = survey(files)
    layers = [
        PlannedLayer(
            path=path,
            role=_role(path),
            format=format_by_name(path),
            content=file,
            metadata=wishes.facts.of(file),
        )
        for path, file in found
    ]
    return finish(
        config,
        [*layers, *extra_layers(wishes.extras, wishes.facts, beside=config.format)],
        wishes,
        folder=True,
        code=code,
    )


def _role(path: str) -> LayerRole:
    """Docker Model Runner takes every name with `chat_template` for a template; only Jinja files are one.

    The same weights in a format that nobody here opens are company.
    """
    role = role_by_name(path)
    if role is LayerRole.WEIGHTS and not format_by_name(path):
        return LayerRole.OTHER
    if role is LayerRole.CHAT_TEMPLATE and PurePosixPath(path).parent != PurePosixPath():
        return LayerRole.OTHER
    return role

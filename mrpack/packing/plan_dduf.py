"""The plan for DDUF: a Diffusers pipeline in one file."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from mrpack.formats import dduf, safetensors
from mrpack.model.layer import LayerRole, PlannedLayer
from mrpack.packing.extras import extra_layers
from mrpack.packing.plan import Plan, Wishes, finish, refuse_code, refuse_context_size, refuse_quantization


def plan_dduf(path: Path, wishes: Wishes) -> Plan:
    """The checksums of its entries are compared when the file is hashed.

    Raises NotFound, InvalidArtifact: not a DDUF file by the strict rules, or one that carries code.
    """
    refuse_quantization(wishes)
    refuse_context_size(wishes)
    name = wishes.file_name or path.name
    metadata = replace(wishes.facts.of(path), name=name)
    archive = dduf.read_dduf(path, name)
    code = refuse_code(archive.files, wishes)
    layer = PlannedLayer(path=name, role=LayerRole.WEIGHTS, format="dduf", content=path, metadata=metadata)
    config = dduf.survey(archive, safetensors.read_weights)
    planned = finish(
        config,
        [layer, *extra_layers(wishes.extras, wishes.facts, beside=config.format)],
        wishes,
        folder=False,
        code=code,
    )
    return replace(planned, checks={path: partial(dduf.ContentCheck, archive)})

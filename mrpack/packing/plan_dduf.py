"""The plan for DDUF: a Diffusers pipeline in one file."""

from __future__ import annotations

from pathlib import Path

from mrpack.formats import dduf, safetensors
from mrpack.model.layer import LayerRole, PlannedLayer
from mrpack.packing.extras import extra_layers
from mrpack.packing.plan import Plan, Wishes, finish, refuse_code


def plan_dduf(path: Path, wishes: Wishes) -> Plan:
    """Raises NotFound, InvalidArtifact: not a DDUF file by the strict rules, or one that carries code."""
    metadata = wishes.facts.of(path)
    archive = dduf.read_dduf(path)
    code = refuse_code(archive.files, wishes)
    layer = PlannedLayer(
        path=path.name, role=LayerRole.WEIGHTS, format="dduf", content=path, metadata=metadata
    )
    config = dduf.survey(archive, safetensors.read_weights)
    return finish(
        config, [layer, *extra_layers(wishes.extras, wishes.facts)], wishes, folder=False, code=code
    )

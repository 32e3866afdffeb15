"""Whether a model takes pictures, told by its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from mrpack.model.artifact import ModelArtifact
from mrpack.model.layer import ArtifactFile, LayerRole

# Of Hugging Face; models that see have the block `vision_config` in it.
_CONFIG: Final = "config.json"
_CONFIG_LIMIT: Final = 4 * 1024 * 1024


def sees(artifact: ModelArtifact, read: Callable[[ArtifactFile, int], bytes]) -> bool:
    """By a projector beside it, or what its config.json says. Raises as `read`, of at most so many bytes."""
    if artifact.with_role(LayerRole.MMPROJ):
        return True
    config = next((file for file in artifact.files if file.path == _CONFIG), None)
    if config is None:
        return False
    try:
        content = json.loads(read(config, _CONFIG_LIMIT))
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "vision_config" in content

"""All ways in which models lie in registries; a new one is a module here and a row in `DIALECTS`."""

from __future__ import annotations

from typing import Final

from mrpack.errors import Unsupported
from mrpack.model.artifact import Dialect, ModelArtifact
from mrpack.model.dialects.docker import DOCKER
from mrpack.oci.manifest import Manifest

__all__ = ["DIALECTS", "read_artifact"]

# The first that recognises a manifest reads it.
DIALECTS: Final[tuple[Dialect, ...]] = (DOCKER,)


def read_artifact(manifest: Manifest, config: bytes) -> ModelArtifact:
    """What a manifest and the bytes of its config say, in whatever dialect they are.

    Raises:
        Unsupported: no dialect recognises the manifest.
        InvalidArtifact: one does, but config or layers are malformed.
    """
    for dialect in DIALECTS:
        if dialect.recognises(manifest):
            return dialect.read(manifest, config)
    raise Unsupported(
        f"not a model artifact that mrpack reads: its config is of type {manifest.config.media_type[:120]!r}"
    )

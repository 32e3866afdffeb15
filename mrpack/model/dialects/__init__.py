"""All ways in which models lie in registries; a new one is a module here and a row in `DIALECTS`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mrpack.errors import Unsupported
from mrpack.model.artifact import Dialect, ModelArtifact, WritableDialect
from mrpack.model.dialects.docker import DOCKER
from mrpack.model.dialects.kitops import KITOPS
from mrpack.model.dialects.modelcar import MODELCAR
from mrpack.model.dialects.modelpack import MODELPACK
from mrpack.model.dialects.ollama import OLLAMA
from mrpack.model.dialects.oras import ORAS
from mrpack.model.dialects.ramalama import RAMALAMA
from mrpack.oci.manifest import Manifest

__all__ = ["DIALECTS", "WRITERS", "read_artifact"]

# The first that recognises a manifest reads it: those that look at least closely come last.
DIALECTS: Final[tuple[Dialect, ...]] = (DOCKER, MODELPACK, KITOPS, OLLAMA, RAMALAMA, MODELCAR, ORAS)

# By the name that `--format` and `--also` take.
WRITERS: Final[Mapping[str, WritableDialect]] = MappingProxyType(
    {dialect.name: dialect for dialect in (DOCKER, MODELPACK)}
)


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

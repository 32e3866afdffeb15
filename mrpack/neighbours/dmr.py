"""Docker Model Runner's folder: `models.json` with the names, `manifests/sha256/HEX`, `blobs/sha256/HEX`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, UsageError
from mrpack.model.fields import objects_at
from mrpack.neighbours.store import Neighbour, read_document, read_named
from mrpack.oci.encoding import decode_object
from mrpack.oci.reference import Reference, ReferenceDefaults


class _DockerModelRunner:
    prefix = "dmr"
    tool = "Docker Model Runner"
    variable = "MODELS_PATH"
    folders: Sequence[str] = ("~/.docker/models",)
    defaults = ReferenceDefaults()

    def manifests(self, root: Path) -> Iterator[tuple[Reference, Path]]:
        path = root / "models.json"
        index = decode_object(read_document(path), str(path))
        for entry in objects_at(index, "models", str(path)):
            tags = entry.get("tags")  # null for a model without a name
            for tag in tags if isinstance(tags, list) else ():
                # Its index is known to spoil names now and then; one that is broken hides no other.
                with contextlib.suppress(UsageError, InvalidArtifact):
                    digest = Digest.parse(entry.get("id"))
                    yield Reference.parse(str(tag), self.defaults), self._file(root, "manifests", digest)

    def read_manifest(self, root: Path, path: Path) -> bytes:
        del root
        return read_named(path, Digest.parse(f"{path.parent.name}:{path.name}"))

    def blob(self, root: Path, digest: Digest) -> Path:
        return self._file(root, "blobs", digest)

    @staticmethod
    def _file(root: Path, kind: str, digest: Digest) -> Path:
        return root / kind / digest.algorithm / digest.hex


DOCKER_MODEL_RUNNER: Final[Neighbour] = _DockerModelRunner()

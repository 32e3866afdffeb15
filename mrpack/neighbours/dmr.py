"""Docker Model Runner's folder: `models.json` with the names, `manifests/sha256/HEX`, `blobs/sha256/HEX`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from mrpack.digest import Digest
from mrpack.errors import UsageError
from mrpack.model.fields import objects_at, text_at
from mrpack.neighbours.store import Neighbour, read_document
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
            digest = Digest.parse(text_at(entry, "id", str(path)))
            for tag in entry.get("tags") or ():  # null for a model without a name
                try:
                    yield Reference.parse(str(tag), self.defaults), self._file(root, "manifests", digest)
                except UsageError:
                    continue  # its index is known to spoil names now and then

    def read_manifest(self, root: Path, path: Path) -> bytes:
        del root
        return read_document(path)

    def blob(self, root: Path, digest: Digest) -> Path:
        return self._file(root, "blobs", digest)

    @staticmethod
    def _file(root: Path, kind: str, digest: Digest) -> Path:
        return root / kind / digest.algorithm / digest.hex


DOCKER_MODEL_RUNNER: Final[Neighbour] = _DockerModelRunner()

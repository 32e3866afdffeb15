"""Ollama's folder: `manifests/HOST/NAMESPACE/MODEL/TAG` and `blobs/sha256-HEX`.

Since 2026 there is `manifests-v2` as well, with links into the blobs, where a name may lead to a list of one
manifest for each of Ollama's runners.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from mrpack.digest import Digest
from mrpack.errors import Unsupported, UsageError
from mrpack.model.fields import objects_at, text_at
from mrpack.neighbours.store import Neighbour, read_document, read_named
from mrpack.oci.encoding import decode_object
from mrpack.oci.reference import Reference, ReferenceDefaults

# A name there counts before the same one in the older tree.
_TREES: Final = ("manifests-v2", "manifests")
_HOST: Final = "registry.ollama.ai"
# What the newer tree calls it.
_HOST_ALIASES: Final = {"ollama.com": _HOST}
_LIST: Final = "application/vnd.ollama.manifest.list.v2+json"


class _Ollama:
    prefix = "ollama"
    tool = "Ollama"
    variable = "OLLAMA_MODELS"
    # The second belongs to the service that its installer sets up on Linux.
    folders: Sequence[str] = ("~/.ollama/models", "/usr/share/ollama/.ollama/models")
    defaults = ReferenceDefaults(registry=_HOST, namespace="library")

    def manifests(self, root: Path) -> Iterator[tuple[Reference, Path]]:
        for tree in (root / name for name in _TREES):
            with contextlib.suppress(FileNotFoundError):
                os.scandir(tree).close()  # `glob` passes over what may not be read
            for path in sorted(tree.glob("*/*/*/*")):
                host, namespace, model, tag = path.relative_to(tree).parts
                name = f"{_HOST_ALIASES.get(host, host)}/{namespace}/{model}:{tag}"
                try:
                    yield Reference.parse(name, self.defaults), path
                except UsageError:
                    continue  # a file of the system's, such as .DS_Store

    def read_manifest(self, root: Path, path: Path) -> bytes:
        raw = read_document(path)
        document = decode_object(raw, str(path))
        if document.get("mediaType") != _LIST:
            return raw
        digest = _gguf_manifest(document, str(path))
        return read_named(self.blob(root, digest), digest)

    def blob(self, root: Path, digest: Digest) -> Path:
        return root / "blobs" / f"{digest.algorithm}-{digest.hex}"


def _gguf_manifest(document: dict[str, Any], where: str) -> Digest:
    """Entries of a list have a digest and no size; those of other runners hold what Ollama alone reads."""
    for entry in objects_at(document, "manifests", where):
        if text_at(entry, "format", where) == "gguf" and entry.get("digest"):
            return Digest.parse(text_at(entry, "digest", where))
    raise Unsupported(f"{where}: a model that only Ollama opens: it has no GGUF file")


OLLAMA: Final[Neighbour] = _Ollama()

"""Folders as other tools keep their models in, made from the content of a MemoryTarget."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mrpack.content.memory import MemoryTarget
from mrpack.digest import Digest, read_verified
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import encode
from mrpack.oci.manifest import Manifest
from mrpack.oci.mediatypes import DOCKER_MANIFEST


def ollama_artifact(memory: MemoryTarget, model: bytes, *, ref: str = "v1", **config: str) -> Manifest:
    """A GGUF model as `ollama create` writes it."""
    layers = [
        memory.add("application/vnd.ollama.image.model", model),
        memory.add("application/vnd.ollama.image.params", b'{"num_ctx":256,"temperature":0.2}'),
        memory.add("application/vnd.ollama.image.license", b"Apache License 2.0"),
    ]
    described = {"model_format": "gguf", "model_family": "llama", "file_type": "Q8_0", **config}
    return _push(
        memory, memory.add("application/vnd.docker.container.image.v1+json", encode(described)), layers, ref
    )


def _push(memory: MemoryTarget, config: Descriptor, layers: list[Descriptor], ref: str) -> Manifest:
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    manifest = Manifest.parse(encode(document))
    memory.push_manifest(manifest.descriptor, manifest.raw, ref)
    return manifest


def write_ollama(root: Path, memory: MemoryTarget, manifest: Manifest, name: str) -> Path:
    """`name` is HOST/NAMESPACE/MODEL/TAG, a file there with the manifest itself."""
    _write_blobs(root / "blobs", "{}-{}", memory, manifest)
    _write(root / "manifests" / name, manifest.raw)
    return root


def write_newer_ollama(root: Path, memory: MemoryTarget, manifest: Manifest, name: str) -> Path:
    """A link to a list of manifests, of which one has the model as GGUF; all of them are blobs."""
    _write_blobs(root / "blobs", "{}-{}", memory, manifest)
    digest = str(manifest.descriptor.digest)
    entries = [
        {
            "mediaType": DOCKER_MANIFEST,
            "digest": f"sha256:{'0' * 64}",
            "runner": "mlx",
            "format": "safetensors",
        },
        {"mediaType": DOCKER_MANIFEST, "digest": digest, "runner": "llamacpp", "format": "gguf"},
    ]
    listing = encode(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.ollama.manifest.list.v2+json",
            "manifests": entries,
        }
    )
    for raw in (manifest.raw, listing):
        _write(root / "blobs" / f"sha256-{Digest.of(raw).hex}", raw)
    link = root / "manifests-v2" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    blob = root / "blobs" / f"sha256-{Digest.of(listing).hex}"
    link.symlink_to(os.path.relpath(blob, link.parent))
    return root


def write_dmr(root: Path, memory: MemoryTarget, manifest: Manifest, *tags: str) -> Path:
    _write_blobs(root / "blobs", "{}/{}", memory, manifest)
    digest = manifest.descriptor.digest
    _write(root / "manifests" / digest.algorithm / digest.hex, manifest.raw)
    path = root / "models.json"
    models = json.loads(path.read_text())["models"] if path.exists() else []
    files = [str(blob.digest) for blob in (*manifest.layers, manifest.config)]
    models.append({"id": str(digest), "tags": list(tags) or None, "files": files})
    _write(path, json.dumps({"models": models}, indent=2).encode())
    _write(root / "layout.json", b'{\n  "version": "1.0.0"\n}')
    return root


def _write_blobs(folder: Path, pattern: str, memory: MemoryTarget, manifest: Manifest) -> None:
    for blob in manifest.blobs:
        content = read_verified(memory.fetch(blob), blob.digest, blob.size, limit=blob.size)
        _write(folder / pattern.format(blob.digest.algorithm, blob.digest.hex), content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)

"""One small artifact in every dialect, as documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from mrpack.digest import Digest
from mrpack.oci.encoding import encode
from mrpack.oci.mediatypes import DOCKER_MANIFEST, OCI_EMPTY, OCI_MANIFEST

_PATH, _TITLE = "org.cncf.model.filepath", "org.opencontainers.image.title"
_METADATA: Final = (
    '{"name":"m.gguf","mode":420,"uid":0,"gid":0,"size":9,"mtime":"2026-01-02T03:04:05Z","typeflag":0}'
)


@dataclass(frozen=True)
class Documents:
    manifest: Mapping[str, Any]
    config_type: str
    config: Any

    def raw(self, manifest: Any = None, config: Any = None) -> tuple[bytes, bytes]:
        """Manifest and config as bytes, either replaced; the manifest describes the config it comes with."""
        config_bytes = encode(self.config if config is None else config)
        described = {
            "mediaType": self.config_type,
            "digest": str(Digest.of(config_bytes)),
            "size": len(config_bytes),
        }
        document = {
            "schemaVersion": 2,
            "config": described,
            **(self.manifest if manifest is None else manifest),
        }
        return encode(document), config_bytes


def _layer(media_type: str, number: int = 1, **annotations: str) -> dict[str, Any]:
    content = f"{media_type} {number}".encode()
    described = {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}
    return {**described, **({"annotations": annotations} if annotations else {})}


def _named(media_type: str, path: str, **more: str) -> dict[str, Any]:
    return _layer(
        media_type, len(path), **{_PATH: path, "org.cncf.model.file.metadata+json": _METADATA}, **more
    )


_KIT: Final = "application/vnd.kitops.modelkit."
_KIT_MODEL: Final = _layer(f"{_KIT}model.v1.tar")
_KIT_CODE: Final = _layer(f"{_KIT}code.v1.tar+gzip")

DOCUMENTS: Final[Mapping[str, Documents]] = MappingProxyType(
    {
        "docker": Documents(
            {
                "mediaType": OCI_MANIFEST,
                "layers": [
                    _named("application/vnd.docker.ai.gguf.v3", "m.gguf"),
                    _named("application/vnd.docker.ai.license", "LICENSE"),
                    _named("application/vnd.docker.ai.model.file", "mrpack.json"),
                ],
            },
            "application/vnd.docker.ai.model.config.v0.1+json",
            {
                "config": {
                    "format": "gguf",
                    "quantization": "Q4_K_M",
                    "parameters": "1B",
                    "gguf": {"general.architecture": "llama"},
                    "context_size": 4096,
                },
                "descriptor": {"created": "2026-01-02T03:04:05Z"},
                "rootfs": {"type": "rootfs", "diff_ids": []},
            },
        ),
        "cncf": Documents(
            {
                "mediaType": OCI_MANIFEST,
                "artifactType": "application/vnd.cncf.model.manifest.v1+json",
                "layers": [
                    _named("application/vnd.cncf.model.weight.v1.raw", "m.gguf"),
                    _named("application/vnd.cncf.model.weight.config.v1.tar+gzip", "te"),
                    _named("application/vnd.cncf.model.doc.v1.raw", "README.md"),
                ],
            },
            "application/vnd.cncf.model.config.v1+json",
            {
                "descriptor": {"createdAt": "2026-01-02T03:04:05Z", "licenses": ["MIT"], "family": "llama"},
                "modelfs": {"type": "layers", "diffIds": []},
                "config": {"format": "gguf", "paramSize": "1B", "capabilities": {"inputTypes": ["text"]}},
            },
        ),
        "kitops": Documents(
            {"layers": [_KIT_MODEL, _KIT_CODE]},
            f"{_KIT}config.v1+json",
            {
                "manifestVersion": "1.0.0",
                "package": {"name": "x", "authors": ["me"]},
                "model": {
                    "path": "./model",
                    "format": "gguf",
                    "digest": _KIT_MODEL["digest"],
                    "parameters": {"temperature": 0.5},
                },
                "code": [{"path": "src", "digest": _KIT_CODE["digest"]}],
            },
        ),
        "ollama": Documents(
            {
                "mediaType": DOCKER_MANIFEST,
                "layers": [
                    _layer("application/vnd.ollama.image.model"),
                    _layer("application/vnd.ollama.image.params"),
                    _layer("application/vnd.ollama.image.license"),
                ],
            },
            "application/vnd.docker.container.image.v1+json",
            {"model_format": "gguf", "model_family": "llama", "model_type": "8.0B", "file_type": "Q4_K_M"},
        ),
        "ramalama": Documents(
            {
                "mediaType": OCI_MANIFEST,
                "artifactType": "application/vnd.cncf.model.manifest.v1+json",
                "layers": [_named("application/octet-stream", "m.gguf"), _named("text/plain", "a/README.md")],
            },
            OCI_EMPTY,
            {},
        ),
        "modelcar": Documents(
            {
                "mediaType": OCI_MANIFEST,
                "layers": [
                    _layer("application/vnd.oci.image.layer.v1.tar"),
                    _layer(
                        "application/vnd.oci.image.layer.v1.tar+gzip",
                        2,
                        **{"olot.layer.content.inlayerpath": "/models/m.gguf"},
                    ),
                ],
            },
            "application/vnd.oci.image.config.v1+json",
            {
                "created": "2026-01-02T03:04:05Z",
                "config": {"Labels": {"com.ramalama.model.file.location": "/models/m.gguf"}},
            },
        ),
        "oras": Documents(
            {
                "mediaType": OCI_MANIFEST,
                "layers": [
                    _layer("application/vnd.oci.image.layer.v1.tar", **{_TITLE: "m.gguf"}),
                    _layer(
                        "application/vnd.oci.image.layer.v1.tar+gzip",
                        **{_TITLE: "te", "io.deis.oras.content.unpack": "true"},
                    ),
                ],
            },
            OCI_EMPTY,
            {},
        ),
    }
)

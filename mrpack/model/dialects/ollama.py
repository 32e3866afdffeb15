"""Ollama's models, from its registry, from Hugging Face in Ollama's form, or from its local store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack.model.artifact import Dialect, ModelArtifact
from mrpack.model.config import ModelConfig
from mrpack.model.fields import text_at
from mrpack.model.filepath import check_tree
from mrpack.model.layer import ArtifactFile, LayerRole
from mrpack.oci.encoding import CONFIG_LIMIT, decode_object
from mrpack.oci.manifest import Manifest

_PREFIX: Final = "application/vnd.ollama.image."


@dataclass(frozen=True, slots=True)
class _LayerType:
    """Layers have no names: the first of a type is `name`, the next `numbered`."""

    role: LayerRole
    name: str
    numbered: str
    format: str = ""


# The chat template is in Go's language, so no CHAT_TEMPLATE to us: engines take the one in the GGUF file.
_LAYER_TYPES: Final[Mapping[str, _LayerType]] = {
    "model": _LayerType(LayerRole.WEIGHTS, "model.gguf", "model-{}.gguf", "gguf"),
    "projector": _LayerType(LayerRole.MMPROJ, "mmproj.gguf", "mmproj-{}.gguf", "gguf"),
    "adapter": _LayerType(LayerRole.ADAPTER, "adapter.gguf", "adapter-{}.gguf", "gguf"),
    "draft": _LayerType(LayerRole.OTHER, "draft.gguf", "draft-{}.gguf"),
    "template": _LayerType(LayerRole.OTHER, "template.gotmpl", "template-{}.gotmpl"),
    "prompt": _LayerType(LayerRole.OTHER, "prompt.gotmpl", "prompt-{}.gotmpl"),
    "system": _LayerType(LayerRole.OTHER, "system.txt", "system-{}.txt"),
    "params": _LayerType(LayerRole.CONFIG, "params.json", "params-{}.json"),
    "messages": _LayerType(LayerRole.CONFIG, "messages.json", "messages-{}.json"),
    "license": _LayerType(LayerRole.LICENSE, "LICENSE", "LICENSE-{}"),
    "embed": _LayerType(LayerRole.OTHER, "embeddings", "embeddings-{}"),
}


class OllamaDialect:
    name = "ollama"

    def recognises(self, manifest: Manifest) -> bool:
        return any(layer.media_type.startswith(_PREFIX) for layer in manifest.layers)

    def read(self, manifest: Manifest, config: bytes) -> ModelArtifact:
        """Raises Unsupported for what Ollama alone can open: cloud models, and a layer for each tensor."""
        document = decode_object(config, "config", limit=CONFIG_LIMIT)
        if text_at(document, "remote_model", "config"):
            raise Unsupported("runs on a remote host: there is no model in this artifact")
        files = _read_files(manifest)
        if not any(file.role is LayerRole.WEIGHTS for file in files):
            raise Unsupported("an artifact of Ollama without a GGUF model")
        return ModelArtifact(
            manifest=manifest,
            dialect=self.name,
            config=ModelConfig(
                format=text_at(document, "model_format", "config") or "gguf",
                quantization=_quantization(document),
                parameters=text_at(document, "model_type", "config"),
                architecture=text_at(document, "model_family", "config"),
            ),
            files=files,
        )


def _read_files(manifest: Manifest) -> tuple[ArtifactFile, ...]:
    files: list[ArtifactFile] = []
    counts: Counter[str] = Counter()
    for index, layer in enumerate(manifest.layers):
        kind = layer.media_type.removeprefix(_PREFIX)
        row = _LAYER_TYPES.get(kind)
        if kind in {"tensor", "json"}:
            raise Unsupported("has a layer for each tensor; only Ollama opens such models")
        if row is None:
            raise Unsupported(f"layers[{index}]: not a layer type of Ollama: {layer.media_type[:120]!r}")
        counts[kind] += 1
        path = row.name if counts[kind] == 1 else row.numbered.format(counts[kind])
        files.append(ArtifactFile(path=path, role=row.role, format=row.format, descriptor=layer))
    check_tree([file.path for file in files], "layers")
    return tuple(files)


def _quantization(document: Mapping[str, Any]) -> str:
    """Ollama writes "unknown" when it does not know."""
    written = text_at(document, "file_type", "config")
    return "" if written == "unknown" else written


OLLAMA: Final[Dialect] = OllamaDialect()

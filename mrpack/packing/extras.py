"""The files that go beside the weights of any model: licences, chat template, projector, adapters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mrpack.errors import InvalidArtifact, UsageError, from_os_error
from mrpack.formats import gguf
from mrpack.formats.safetensors import read_header
from mrpack.model.document import read_document
from mrpack.model.layer import LayerRole, PlannedLayer
from mrpack.model.weight_formats import format_by_name
from mrpack.packing.plan import Extras, FileFacts
from mrpack.readable import open_file

# Hugging Face PEFT, `save_pretrained`.
_PEFT: Final = ("adapter_config.json", "adapter_model.safetensors")
_SAFETENSORS: Final = ".safetensors"
# A licence or template is read into memory by every tool that shows it.
_TEXT_LIMIT: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Taken:
    """With models of which formats an engine takes a file; of others `otherwise` is said."""

    formats: frozenset[str]
    otherwise: str
    hint: str | None = None


_TAKEN: Final = {
    (LayerRole.MMPROJ, "gguf"): _Taken(
        frozenset({"gguf"}), "a projector goes with a GGUF model", "others have theirs among their weights"
    ),
    (LayerRole.CHAT_TEMPLATE, ""): _Taken(
        frozenset({"gguf", "safetensors"}), "a chat template goes with a language model"
    ),
    (LayerRole.ADAPTER, "gguf"): _Taken(
        frozenset({"gguf"}), "an adapter in GGUF goes with a GGUF model", "give the one in Safetensors"
    ),
    (LayerRole.ADAPTER, "safetensors"): _Taken(
        frozenset({"safetensors", "dduf", "diffusers"}),
        "llama.cpp loads GGUF adapters alone",
        "make one with convert_lora_to_gguf.py of llama.cpp",
    ),
}


def extra_layers(extras: Extras, facts: FileFacts, *, beside: str) -> list[PlannedLayer]:
    """In the fixed order of Docker Model Runner: licences, chat template, projector; then adapters.

    `beside`: the format of the model. Raises UsageError for what its engine could not load with it.
    """
    layers = _layers(extras, facts)
    for layer in layers:
        takes = _TAKEN.get((layer.role, layer.format))
        if takes is not None and beside and beside not in takes.formats:
            raise UsageError(f"{layer.path}: {takes.otherwise}, and this model is {beside}", hint=takes.hint)
    return layers


def _layers(extras: Extras, facts: FileFacts) -> list[PlannedLayer]:
    layers = [_text_layer(path, LayerRole.LICENSE, facts) for path in extras.licenses]
    if extras.chat_template:
        layers.append(_text_layer(extras.chat_template, LayerRole.CHAT_TEMPLATE, facts))
    if extras.mmproj:
        layers.append(_gguf_layer(extras.mmproj, LayerRole.MMPROJ, facts))
    return layers + [layer for path in extras.adapters for layer in _adapter_layers(path, facts)]


def _adapter_layers(path: Path, facts: FileFacts) -> list[PlannedLayer]:
    """A GGUF file, one in Safetensors, or a folder of PEFT: then only the two files that engines open."""
    if path.suffix == _SAFETENSORS:  # as Diffusers writes them
        metadata = facts.of(path)
        read_header(path)
        return [
            PlannedLayer(
                path=path.name,
                role=LayerRole.ADAPTER,
                format=format_by_name(path.name),
                content=path,
                metadata=metadata,
            )
        ]
    if not path.is_dir():
        return [_gguf_layer(path, LayerRole.ADAPTER, facts)]
    config, weights = (path / name for name in _PEFT)
    read_document(open_file(config))
    read_header(weights)
    return [
        PlannedLayer(
            path=f"{path.resolve().name}/{file.name}",
            role=role,
            format=format_by_name(file.name),
            content=file,
            metadata=facts.of(file),
        )
        for file, role in ((config, LayerRole.CONFIG), (weights, LayerRole.ADAPTER))
    ]


def _gguf_layer(path: Path, role: LayerRole, facts: FileFacts) -> PlannedLayer:
    """A projector or adapter, which has to be one."""
    metadata = facts.of(path)
    kind = gguf.read_header(path).kind
    if kind != role.value:
        raise InvalidArtifact(f"is a GGUF of kind {kind!r}, not {role.value!r}", where=str(path))
    return PlannedLayer(path=path.name, role=role, format="gguf", content=path, metadata=metadata)


def _text_layer(path: Path, role: LayerRole, facts: FileFacts) -> PlannedLayer:
    """A licence or chat template: UTF-8 text of sane size."""
    metadata = facts.of(path)
    if metadata.size > _TEXT_LIMIT:
        raise InvalidArtifact(
            f"{metadata.size} bytes; a licence or template has at most {_TEXT_LIMIT}", where=str(path)
        )
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError:
        raise InvalidArtifact("is not UTF-8 text", where=str(path)) from None
    except OSError as error:
        raise from_os_error(error, f"package {path}") from error
    return PlannedLayer(path=path.name, role=role, format="", content=path, metadata=metadata)

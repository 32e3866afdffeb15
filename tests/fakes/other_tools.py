"""A model as the other tools put it into registries, in an OCI layout: made by their rules, not by ours."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import zstandard

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest
from mrpack.store.layout import OciLayout

Files = Mapping[str, bytes]
Maker = Callable[[MemoryTarget, Files], Manifest]

_KIT: Final = "application/vnd.kitops.modelkit."
_CNCF: Final = "application/vnd.cncf.model."
_OLLAMA: Final = "application/vnd.ollama.image."
_DOCKER: Final = "application/vnd.docker.ai."
_IMAGE: Final = "application/vnd.oci.image."
_EMPTY: Final = "application/vnd.oci.empty.v1+json"
_FILEPATH: Final = "org.cncf.model.filepath"
_TITLE: Final = "org.opencontainers.image.title"


def write_artifact(tool: str, files: Files, layout: Path, tag: str) -> None:
    """`tool` is a row of GGUF_TOOLS or FOLDER_TOOLS."""
    memory = MemoryTarget()
    manifest = {**GGUF_TOOLS, **FOLDER_TOOLS}[tool](memory, files)
    memory.push_manifest(manifest.descriptor, manifest.raw, tag)
    copy(memory, tag, OciLayout(layout), tag)


def tar(files: Files, packing: str = "tar") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    raw = buffer.getvalue()
    if packing == "tar+gzip":
        return gzip.compress(raw, mtime=0)
    return zstandard.compress(raw) if packing == "tar+zstd" else raw


def _config(memory: MemoryTarget, media_type: str, value: Any) -> Descriptor:
    return memory.add(media_type, json.dumps(value).encode())


def _named(memory: MemoryTarget, media_type: str, content: bytes, **annotations: str) -> Descriptor:
    return memory.add(media_type, content).with_annotations(annotations)


def kitops(memory: MemoryTarget, files: Files) -> Manifest:
    """A model in a folder of its own, with parameters, and a document at the top."""
    model = memory.add(
        f"{_KIT}model.v1.tar+gzip", tar({f"model/{n}": c for n, c in files.items()}, "tar+gzip")
    )
    notes = memory.add(f"{_KIT}docs.v1.tar", tar({"NOTES.md": b"notes"}))
    kitfile = {
        "manifestVersion": "1.0.0",
        "model": {
            "path": "./model/",
            "digest": str(model.digest),
            "parameters": {"temperature": 0.25, "num_ctx": 64, "mirostat": 2},
        },
        "docs": [{"path": "NOTES.md", "digest": str(notes.digest)}],
    }
    return Manifest.build(config=_config(memory, f"{_KIT}config.v1+json", kitfile), layers=[model, notes])


def modelpack(packing: str) -> Maker:
    def make(memory: MemoryTarget, files: Files) -> Manifest:
        layers = []
        for name, content in files.items():
            kind = "weight" if name.endswith((".gguf", ".safetensors")) else "weight.config"
            packed = content if packing == "raw" else tar({name: content}, packing)
            layers.append(_named(memory, f"{_CNCF}{kind}.v1.{packing}", packed, **{_FILEPATH: name}))
        config = {"descriptor": {}, "modelfs": {"type": "layers", "diffIds": []}, "config": {}}
        return Manifest.build(
            config=_config(memory, f"{_CNCF}config.v1+json", config),
            layers=layers,
            artifact_type=f"{_CNCF}manifest.v1+json",
        )

    return make


def modelcar(memory: MemoryTarget, files: Files) -> Manifest:
    """An image with an operating system below the model."""
    system = {"etc/passwd": b"root", "usr/model.json": b"{}"}
    layers = [
        memory.add(f"{_IMAGE}layer.v1.tar+gzip", tar(system, "tar+gzip")),
        memory.add(f"{_IMAGE}layer.v1.tar", tar({f"models/{n}": c for n, c in files.items()})),
    ]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    return Manifest.build(config=_config(memory, f"{_IMAGE}config.v1+json", config), layers=layers)


def ramalama(memory: MemoryTarget, files: Files) -> Manifest:
    layers = [
        _named(memory, "application/octet-stream", content, **{_FILEPATH: name})
        for name, content in files.items()
    ]
    return Manifest.build(
        config=_config(memory, _EMPTY, {}), layers=layers, artifact_type=f"{_CNCF}manifest.v1+json"
    )


def oras(memory: MemoryTarget, files: Files) -> Manifest:
    layers = [
        _named(memory, f"{_IMAGE}layer.v1.tar", content, **{_TITLE: name}) for name, content in files.items()
    ]
    return Manifest.build(config=_config(memory, _EMPTY, {}), layers=layers, artifact_type="a/b")


def oras_folder(memory: MemoryTarget, files: Files) -> Manifest:
    packed = tar({f"tiny/{n}": c for n, c in files.items()}, "tar+gzip")
    marks = {_TITLE: "tiny", "io.deis.oras.content.unpack": "true"}
    layer = _named(memory, f"{_IMAGE}layer.v1.tar+gzip", packed, **marks)
    return Manifest.build(config=_config(memory, _EMPTY, {}), layers=[layer], artifact_type="a/b")


def ollama(memory: MemoryTarget, files: Files) -> Manifest:
    """Layers have no names; settings, a system prompt and a template lie beside the model."""
    params = {"temperature": 0.25, "num_ctx": 64, "mirostat": 2}
    layers = [
        *(memory.add(f"{_OLLAMA}model", content) for name, content in files.items() if name.endswith("gguf")),
        memory.add(f"{_OLLAMA}params", json.dumps(params).encode()),
        memory.add(f"{_OLLAMA}system", b"You are a pirate."),
        memory.add(f"{_OLLAMA}template", b"{{ .Prompt }}"),
    ]
    config = {"model_format": "gguf", "model_family": "llama", "model_type": "74K", "file_type": "F16"}
    described = _config(memory, "application/vnd.docker.container.image.v1+json", config)
    return Manifest.build(config=described, layers=layers)


def old_docker(memory: MemoryTarget, files: Files) -> Manifest:
    """Docker Model Runner until February 2026: weights as they are, all else in one archive."""
    rest = {name: content for name, content in files.items() if not name.endswith(".safetensors")}
    layers = [
        *(
            _named(memory, f"{_DOCKER}safetensors", content, **{_FILEPATH: name})
            for name, content in files.items()
            if name not in rest
        ),
        memory.add(f"{_DOCKER}vllm.config.tar", tar(rest)),
    ]
    digests = [str(layer.digest) for layer in layers]
    config = {
        "config": {"format": "safetensors", "quantization": "BF16", "parameters": "68.10K"},
        "descriptor": {},
        "rootfs": {"type": "rootfs", "diff_ids": digests},
    }
    described = _config(memory, f"{_DOCKER}model.config.v0.1+json", config)
    return Manifest.build(config=described, layers=layers)


_BOTH: Final[Mapping[str, Maker]] = {
    "kitops": kitops,
    "modelpack raw": modelpack("raw"),
    "modelpack tar": modelpack("tar"),
    "modelpack tar+gzip": modelpack("tar+gzip"),
    "modelpack tar+zstd": modelpack("tar+zstd"),
    "modelcar": modelcar,
    "ramalama": ramalama,
    "oras": oras,
    "oras folder": oras_folder,
}
# What each takes for a model.
GGUF_TOOLS: Final[Mapping[str, Maker]] = {**_BOTH, "ollama": ollama}
FOLDER_TOOLS: Final[Mapping[str, Maker]] = {**_BOTH, "old docker": old_docker}

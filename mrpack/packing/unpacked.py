"""Artifacts whose files lay in archives, ready to be packed as raw layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final

from mrpack.content.ports import FileBacked, Mirrored, Source
from mrpack.digest import ByteSource, Digest
from mrpack.errors import MrpackError
from mrpack.formats import dduf, diffusers, gguf, safetensors
from mrpack.model.artifact import ModelArtifact
from mrpack.model.config import ModelConfig
from mrpack.model.filepath import check_tree
from mrpack.model.layer import ArtifactFile, LayerRole
from mrpack.model.pipeline import INDEX_NAME
from mrpack.model.weight_formats import is_file_format
from mrpack.oci.descriptor import Descriptor
from mrpack.packing.labels import relabelled
from mrpack.readable import ReadableFile, open_at, open_file


class UnpackedSource:
    """A source in which the files that came out of archives are blobs, too. `places` are theirs."""

    def __init__(self, base: Source, places: Mapping[Digest, Path]) -> None:
        self._base = base
        self._base_files: object = base  # a type checker takes no Source for a FileBacked
        self._places = places

    def resolve(self, ref: str) -> Descriptor:
        return self._base.resolve(ref)

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> ByteSource:
        path = self._places.get(descriptor.digest)
        if path is None:
            return self._base.fetch(descriptor, offset)
        return open_at(path, offset, "read")

    def blob_file(self, descriptor: Descriptor) -> Path | None:
        """Their digests were computed when they were unpacked."""
        files = self._base_files
        base = files.blob_file(descriptor) if isinstance(files, FileBacked) else None
        return self._places.get(descriptor.digest) or base

    def pass_over(self, descriptor: Descriptor, failure: MrpackError) -> bool:
        mirrors = self._base_files
        return isinstance(mirrors, Mirrored) and mirrors.pass_over(descriptor, failure)


def complete(artifact: ModelArtifact, places: Mapping[Digest, Path]) -> ModelArtifact:
    """What a writer needs to know of an artifact whose files were in archives: it says little itself.

    Labels are taken from the model files, as when they are packaged, and the folder that they lie in becomes
    the root, where engines look for them.

    Raises:
        InvalidArtifact, NotFound: they are no model; the message says why.
    """
    artifact = _rooted(artifact)
    weights = artifact.with_role(LayerRole.WEIGHTS)
    if any(file.descriptor.digest not in places for file in weights):
        return artifact
    found = _survey(artifact.files, places)
    if found is None:
        return artifact
    config = relabelled(artifact.config, found)
    return replace(artifact, config=config, folder=not is_file_format(config.format))


def _rooted(artifact: ModelArtifact) -> ModelArtifact:
    paths = [file.path for file in artifact.files]
    index = next((path for path in paths if PurePosixPath(path).name == INDEX_NAME), None)
    tops = [index] if index else [file.path for file in artifact.with_role(LayerRole.WEIGHTS)]
    parents = {str(PurePosixPath(path).parent) for path in tops}
    if len(parents) != 1 or parents == {"."}:
        return artifact
    prefix = f"{parents.pop()}/"
    moved = [path.removeprefix(prefix) for path in paths]
    if len(set(moved)) < len(moved):
        return artifact
    check_tree(moved, str(artifact.manifest.descriptor.digest))
    files = tuple(replace(file, path=path) for file, path in zip(artifact.files, moved, strict=True))
    return replace(artifact, files=files)


def _survey(files: Sequence[ArtifactFile], places: Mapping[Digest, Path]) -> ModelConfig | None:
    """None for weights of a format that mrpack does not look into."""
    readable = readable_files(files, places)
    if diffusers.is_pipeline(readable):
        return diffusers.survey(readable, safetensors.read_weights)
    weights = [file for file in files if file.role is LayerRole.WEIGHTS]
    survey = _SURVEYS.get(weights[0].format) if weights else None
    if survey is None:
        return None
    return survey(readable, [(file.path, places[file.descriptor.digest]) for file in weights])


def _survey_gguf(_files: Sequence[ReadableFile], weights: Sequence[tuple[str, Path]]) -> ModelConfig:
    return gguf.describe([gguf.read_header(place) for _, place in weights])


def _survey_dduf(_files: Sequence[ReadableFile], weights: Sequence[tuple[str, Path]]) -> ModelConfig:
    path, place = weights[0]
    archive = dduf.read_dduf(place, path)
    dduf.check_content(archive)
    return dduf.survey(archive, safetensors.read_weights)


# By the format of the weights, whose paths and places come second.
_SURVEYS: Final[Mapping[str, Callable[[Sequence[ReadableFile], Sequence[tuple[str, Path]]], ModelConfig]]] = (
    MappingProxyType(
        {
            "gguf": _survey_gguf,
            "dduf": _survey_dduf,
            "safetensors": lambda files, _weights: safetensors.survey(files),
        }
    )
)


def readable_files(files: Sequence[ArtifactFile], places: Mapping[Digest, Path]) -> list[ReadableFile]:
    """Those that lie in files of this machine."""
    return [
        open_file(places[file.descriptor.digest], file.path)
        for file in files
        if file.descriptor.digest in places
    ]

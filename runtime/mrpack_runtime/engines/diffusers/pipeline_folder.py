"""The folder that Diffusers opens: that of the artifact, or a DDUF file laid out beside itself, once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from mrpack.errors import HostRefused, InvalidArtifact, Unsupported
from mrpack.formats import dduf
from mrpack.model.pipeline import INDEX_LIMIT, INDEX_NAME, Pipeline, parse_pipeline
from mrpack.readable import open_file
from mrpack_runtime.engine import ModelBundle
from mrpack_runtime.engine.model_code import refuse_code

# No file of an artifact can have a percent sign in its name (mrpack/model/filepath.py).
_UNPACKED: Final = "%unpacked"
_DDUF: Final = "dduf"


def pipeline_folder(bundle: ModelBundle) -> tuple[Path, Pipeline]:
    """Where the pipeline lies, and what its index says. Unpacks a DDUF file when nobody has yet.

    Raises:
        InvalidArtifact, IntegrityError: the index or the DDUF file is malformed or damaged.
        Unsupported: the pipeline needs code that it brings, or that nobody knows.
        HostRefused: no space to unpack it.
    """
    if bundle.config.format == _DDUF:
        folder = _unpacked(bundle)
    else:
        refuse_code(bundle)
        folder = bundle.folder
    index = open_file(folder / INDEX_NAME, INDEX_NAME)
    pipeline = parse_pipeline(index.read(limit=INDEX_LIMIT), INDEX_NAME)
    _check_classes(pipeline, folder)
    return folder, pipeline


def _unpacked(bundle: ModelBundle) -> Path:
    if len(bundle.weights) != 1:
        raise InvalidArtifact(f"{len(bundle.weights)} DDUF files; a pipeline is one")
    path = bundle.weights[0]
    folder = path.with_name(path.name + _UNPACKED)
    archive = dduf.read_dduf(path)
    if _is_complete(archive, folder):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    try:
        dduf.unpack(archive, folder)
    except HostRefused:
        if not _is_complete(archive, folder):  # else another process was faster
            raise
    return folder


def _is_complete(archive: dduf.DdufArchive, folder: Path) -> bool:
    """It appeared with all files, checked; somebody may have cleaned up since."""
    try:
        return all((folder / entry.name).lstat().st_size == entry.size for entry in archive.entries)
    except OSError:
        return False


def _check_classes(pipeline: Pipeline, folder: Path) -> None:
    """Classes of Diffusers and Transformers alone: all others are code that somebody would have to bring."""
    if pipeline.module:
        raise Unsupported(
            f"the pipeline {pipeline.class_name} is code of the model ({pipeline.module}), which is never run"
        )
    foreign = next((component for component in pipeline.components if component.is_foreign), None)
    if foreign is not None:
        raise Unsupported(
            f"the component {foreign.name} is a {foreign.class_name} of {foreign.library}: only classes of "
            "Diffusers and Transformers are loaded"
        )
    for component in pipeline.components:
        # Diffusers looks for the library among the component's own files first.
        impostor = folder / component.name / f"{component.library}.py"
        if impostor.exists():
            raise Unsupported(
                f"{component.name}/{impostor.name} would take the place of {component.library}: "
                "code of a model is never run",
                hint=f"package the model with --exclude '{component.name}/{impostor.name}'",
            )

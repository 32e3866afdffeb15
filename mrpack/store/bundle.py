"""A model laid out as files under their own names, for an engine to open."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mrpack.errors import from_os_error
from mrpack.model.artifact import ModelArtifact
from mrpack.model.layer import ArtifactFile, LayerRole
from mrpack.oci.descriptor import Descriptor
from mrpack.store.durable import make_folder, take


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """`folder` holds every file of the artifact under its path there; read-only, rebuilt when it is gone."""

    artifact: ModelArtifact
    folder: Path

    def paths(self, role: LayerRole) -> tuple[Path, ...]:
        """In layer order: the first shard comes first."""
        return tuple(self.folder / file.path for file in self.artifact.with_role(role))

    @property
    def main_path(self) -> Path:
        """What an engine is given: the weight file (first shard) of a single-file model, else the folder."""
        weights = self.artifact.with_role(LayerRole.WEIGHTS)
        single = weights and all("/" not in file.path for file in self.artifact.files)
        if single and all(file.format in {"gguf", "dduf"} for file in weights):
            return self.folder / weights[0].path
        return self.folder


def build_bundle(folder: Path, artifact: ModelArtifact, blob_file: Callable[[Descriptor], Path]) -> Bundle:
    """Hard links (or reflinks, or copies) of the blobs, put in place with one rename.

    Idempotent; two processes may build the same bundle at once. `blob_file` raises when a blob is missing
    or damaged.
    """
    files = {file.path: blob_file(file.descriptor) for file in artifact.files}
    bundle = Bundle(artifact=artifact, folder=folder)
    if _is_complete(folder, artifact.files):
        return bundle
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        make_folder(aside)
        for path, blob in files.items():
            target = aside / path
            target.parent.mkdir(parents=True, exist_ok=True)
            take(blob, target)
        _put_in_place(aside, folder)
    except OSError as error:
        raise from_os_error(error, f"build bundle {folder}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return bundle


def _put_in_place(aside: Path, folder: Path) -> None:
    """rename(2) refuses to replace a folder that is not empty: then a stale one is moved out of the way."""
    with contextlib.suppress(FileExistsError):
        try:
            aside.rename(folder)
        except OSError:
            stale = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.stale")
            folder.rename(stale)
            shutil.rmtree(stale, ignore_errors=True)
            aside.rename(folder)


def _is_complete(folder: Path, files: tuple[ArtifactFile, ...]) -> bool:
    for file in files:
        try:
            if os.lstat(folder / file.path).st_size != file.descriptor.size:
                return False
        except OSError:
            return False
    return True

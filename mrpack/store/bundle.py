"""A model laid out as files under their own names, for an engine to open."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mrpack.errors import from_os_error
from mrpack.model.artifact import ModelArtifact
from mrpack.model.layer import LayerRole
from mrpack.oci.descriptor import Descriptor
from mrpack.store.durable import Taken, make_folder, take


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


def build_bundle(
    folder: Path,
    artifact: ModelArtifact,
    blob_file: Callable[[Descriptor], Path],
    *,
    symbolic: bool = False,
) -> Bundle:
    """Hard links (or reflinks, or copies; small files are copied) of the blobs, put in place with one rename.

    `symbolic`: links by name, for blobs on a disk that cannot be written to.

    Idempotent; two processes may build the same bundle at once. `blob_file` raises when a blob is missing
    or damaged.
    """
    blobs = {file.path: blob_file(file.descriptor) for file in artifact.files}
    bundle = Bundle(artifact=artifact, folder=folder)
    if _is_complete(folder, blobs):
        return bundle
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        make_folder(aside)
        for path, blob in blobs.items():
            target = aside / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if symbolic:
                target.symlink_to(blob)
            else:
                _place(blob, target)
        _put_in_place(aside, folder, blobs)
    except OSError as error:
        raise from_os_error(error, f"build bundle {folder}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return bundle


def _place(blob: Path, target: Path) -> None:
    """A file of its own gets the blob's mode and times: the time tells later whose copy it is."""
    if take(blob, target) is Taken.HARD_LINK:
        return
    shutil.copystat(blob, target)
    handle = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put_in_place(aside: Path, folder: Path, blobs: Mapping[str, Path]) -> None:
    """rename(2) refuses to replace a folder that is not empty: then a stale one is moved out of the way.

    Unless another process was faster: an engine may have opened what that built.
    """
    while True:
        try:
            aside.rename(folder)
            return
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        if _is_complete(folder, blobs):
            return
        stale = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.stale")
        with contextlib.suppress(FileNotFoundError):
            folder.rename(stale)
            shutil.rmtree(stale, ignore_errors=True)


def _is_complete(folder: Path, blobs: Mapping[str, Path]) -> bool:
    return all(_is_of(folder / path, blob) for path, blob in blobs.items())


def _is_of(file: Path, blob: Path) -> bool:
    """Whether `file` is the blob itself, or was copied from it; a blob that was replaced makes it stale."""
    try:
        ours, theirs = file.stat(), blob.stat()
    except OSError:
        return False
    is_copy = (
        not file.is_symlink()
        and stat.S_ISREG(ours.st_mode)
        and (ours.st_size, ours.st_mtime_ns)
        == (
            theirs.st_size,
            theirs.st_mtime_ns,
        )
    )
    return os.path.samestat(ours, theirs) or is_copy

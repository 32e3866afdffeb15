"""Models laid out as files under their own names, for an engine to open."""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from mrpack.digest import Digest
from mrpack.errors import from_os_error
from mrpack.model.artifact import ModelArtifact
from mrpack.model.layer import LayerRole
from mrpack.model.weight_formats import is_file_format
from mrpack.oci.descriptor import Descriptor
from mrpack.store.durable import Taken, is_foreign, make_folder, sync_file, take
from mrpack.store.layout import OciLayout
from mrpack.store.placing import put_in_place
from mrpack.store.unpacked import UnpackedArchives


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
        if single and all(is_file_format(file.format) for file in weights):
            return self.folder / weights[0].path
        return self.folder


class Bundles:
    """Those of one store in `home`; new ones go to `cache` when `home` belongs to somebody else."""

    def __init__(self, layout: OciLayout, home: Path, cache: Path | None) -> None:
        self._is_foreign = cache is not None and is_foreign(home)
        made = cache if cache is not None and self._is_foreign else home
        self._layout = layout
        self._folder = home / "bundles"
        self._made = made / "bundles"
        self._unpacked = UnpackedArchives(made / "unpacked")

    def build(self, manifest: Digest, artifact: ModelArtifact) -> Bundle:
        """As `build_bundle`; what lies in archives is unpacked."""
        unpacked = [
            pair
            for archive in artifact.archives
            for pair in self._unpacked.files(archive, self._layout.fetch)
        ]
        if artifact.archives:
            artifact = artifact.with_unpacked([file for file, _ in unpacked])
        places = {file.descriptor.digest: path for file, path in unpacked}
        folder = self._folder / _name(manifest)
        if self._is_foreign and not folder.is_dir():
            folder = self._made / folder.name
        return build_bundle(
            folder,
            artifact,
            lambda blob: places.get(blob.digest) or self._sound_blob(blob),
            symbolic=self._is_foreign,
        )

    def _sound_blob(self, descriptor: Descriptor) -> Path:
        self._layout.blobs.open(descriptor.digest, descriptor.size).close()
        return self._layout.blobs.path(descriptor.digest)

    def drop_all_but(self, live: Collection[Digest]) -> None:
        """Only under the exclusive lock of the store. Raises OSError."""
        self._unpacked.drop_all_but(live)
        if not self._folder.is_dir():
            return
        kept = {_name(digest) for digest in live}
        for bundle in self._folder.iterdir():
            if bundle.name not in kept:
                shutil.rmtree(bundle, ignore_errors=True)


def _name(manifest: Digest) -> str:
    return f"{manifest.algorithm}-{manifest.hex}"


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
        put_in_place(aside, folder, lambda: _is_complete(folder, blobs))
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
    sync_file(target)


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

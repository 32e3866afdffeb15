"""The verb that brings an artifact, or a part of it, into a folder as plain files, past the store."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pathspec import GitIgnoreSpec

from mrpack.content.artifacts import read_model
from mrpack.content.copy import copy_blobs
from mrpack.content.ports import Opener
from mrpack.content.progress import Planned, Report, silent
from mrpack.digest import Digest
from mrpack.errors import HostRefused, InvalidArtifact, NotFound, Unsupported, from_os_error
from mrpack.model.layer import ArtifactFile, LayerRole
from mrpack.oci.descriptor import Descriptor
from mrpack.store.blobs import BlobFolder
from mrpack.store.durable import sync_file, sync_folder
from mrpack.store.locks import lock
from mrpack.targets import open_source
from mrpack.workspace import Access, Workspace

# Below the folder that is written to; what a broken transfer leaves there is taken up by the next.
_ASIDE: Final = ".mrpack-partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """`files` are those that were wanted, in layer order, now below `folder`; `is_whole`: that was all."""

    name: str
    digest: Digest
    folder: Path
    files: tuple[ArtifactFile, ...]
    is_whole: bool

    def to_json(self) -> dict[str, Any]:
        """Stable keys; `size` in bytes, of the files."""
        return {
            "reference": self.name,
            "digest": str(self.digest),
            "folder": str(self.folder),
            "whole": self.is_whole,
            "size": sum(file.descriptor.size for file in self.files),
            "files": [
                {
                    "path": str(self.folder / file.path),
                    "role": str(file.role),
                    "digest": str(file.descriptor.digest),
                    "size": file.descriptor.size,
                }
                for file in self.files
            ],
        }


def extract(
    workspace: Workspace,
    reference: str,
    folder: Path,
    *,
    include: Sequence[str] = (),
    access: Access | None = None,
    jobs: int | None = None,
    report: Report = silent,
) -> Extracted:
    """Write the files of an artifact below `folder`, each verified before it has its name.

    `include`: roles (`config`, `chat-template`, …), or patterns of .gitignore for paths; all by default.
    Files that are there and right stay, others of these names are replaced. A file that was broken off is
    taken up again.

    Raises:
        NotFound: no such artifact; or a word of `include` fits none of its files.
        Unsupported: its files lie in archives.
        InvalidArtifact: a link in `folder` leads out of it.
        HostRefused: `folder` is something else.
    """
    if folder.exists() and not folder.is_dir():
        raise HostRefused(f"{folder} is no folder", hint="name the folder to write to")
    origin = open_source(workspace, reference, access)
    manifest = origin.source.resolve(origin.ref)
    artifact = read_model(origin.source, manifest, origin.name)
    if artifact.archives:
        raise Unsupported(
            f"{origin.name} holds its files in archives", hint="pull it; `mrpack resolve` unpacks them"
        )
    chosen = choose(artifact.files, include)
    blobs = tuple({file.descriptor.digest: file.descriptor.plain() for file in chosen}.values())
    target = _Folder(folder, chosen)
    report(Planned(blobs))
    with target.alone():
        copy_blobs(origin.source, blobs, target, jobs or workspace.settings.jobs, report)
        target.finish()
    return Extracted(
        name=origin.name,
        digest=manifest.digest,
        folder=folder,
        files=chosen,
        is_whole=len(chosen) == len(artifact.files),
    )


def choose(files: Sequence[ArtifactFile], include: Sequence[str]) -> tuple[ArtifactFile, ...]:
    """Those that one of the words fits, or all without words. Raises NotFound for a word that fits none."""
    if not include:
        return tuple(files)
    chosen: set[str] = set()
    for word in include:
        if word in _ROLES:
            fitting = {file.path for file in files if file.role == word}
        else:
            pattern = GitIgnoreSpec.from_lines([word])
            fitting = {file.path for file in files if pattern.match_file(file.path)}
        if not fitting:
            names = ", ".join(file.path for file in files[:8])
            raise NotFound(
                f"no file is a {word!r}" if word in _ROLES else f"no file fits {word!r}",
                hint=(f"it has {names}{', …' if len(files) > 8 else ''}"),
            )
        chosen |= fitting
    return tuple(file for file in files if file.path in chosen)


_ROLES: Final = frozenset(role.value for role in LayerRole)


class _Folder:
    """Takes blobs into a hidden folder, and gives them the names of their files at the end."""

    def __init__(self, folder: Path, files: Sequence[ArtifactFile]) -> None:
        self._folder = folder
        self._files = files
        self._aside = folder / _ASIDE
        self._blobs = BlobFolder(self._aside)

    def exists(self, descriptor: Descriptor) -> bool:
        return self._blobs.has(descriptor.digest, descriptor.size) or not self._lacking(descriptor)

    def push(self, descriptor: Descriptor, open_at: Opener) -> None:
        self._blobs.add(descriptor.digest, descriptor.size, open_at)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """One at a time writes to the folder, which is made, where there are locks. Raises HostRefused."""
        with contextlib.ExitStack() as held:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                held.callback(os.close, handle)
            except OSError as error:
                raise from_os_error(error, f"write to {self._folder}") from error
            with contextlib.suppress(OSError):  # NFS locks no folders
                lock(handle)
            held.callback(self._drop_empty)
            yield

    def _drop_empty(self) -> None:
        """What a failure left with nothing in it to take up."""
        for folder in [*sorted(self._aside.rglob("*"), reverse=True), self._aside]:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def finish(self) -> None:
        """Idempotent."""
        folders = {self._folder}
        try:
            for file in self._files:
                blob = self._blobs.path(file.descriptor.digest)
                if blob.exists():
                    target = self._target(file)
                    self._place(blob, target)
                    folders.update(path for path in target.parents if path.is_relative_to(self._folder))
            for folder in folders:
                sync_folder(folder)
            shutil.rmtree(self._aside, ignore_errors=True)
        except OSError as error:
            raise from_os_error(error, f"write to {self._folder}") from error

    def _lacking(self, descriptor: Descriptor) -> list[ArtifactFile]:
        return [
            file
            for file in self._files
            if file.descriptor.digest == descriptor.digest and not _is(self._folder / file.path, descriptor)
        ]

    def _target(self, file: ArtifactFile) -> Path:
        target = self._folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(self._folder)):
            raise InvalidArtifact("a link on its way leads out of the folder", where=str(target))
        return target

    def _place(self, blob: Path, target: Path) -> None:
        """Several files may have the same content, and each is the user's to edit."""
        copied = self._aside / "file"
        copied.unlink(missing_ok=True)
        wanted = [file for file in self._files if self._blobs.path(file.descriptor.digest) == blob]
        if len(wanted) > 1:
            shutil.copyfile(blob, copied)
            sync_file(copied)
        else:
            blob.rename(copied)
        copied.chmod(0o644)
        copied.replace(target)


def _is(path: Path, descriptor: Descriptor) -> bool:
    """Whether the file is there with this content; it is read for that."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == descriptor.size:
            algorithm = descriptor.digest.algorithm
            return hashlib.file_digest(file, algorithm).hexdigest() == descriptor.digest.hex
    return False

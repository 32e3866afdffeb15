"""Large files that are made on the way into the store."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from mrpack.errors import from_os_error
from mrpack.store.durable import make_folder
from mrpack.workspace import Workspace


@contextlib.contextmanager
def scratch_file(workspace: Workspace, suffix: str) -> Iterator[Path]:
    """The path of a file to make, gone when the bracket closes; what a kill leaves, `gc` removes.

    It lies on the store's own file system: the store takes it over as a link, not as a second copy.
    """
    with workspace.store.operation() as layout:
        path = layout.blobs.ingest_folder / f"{uuid.uuid4().hex}{suffix}"
        try:
            yield path
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def scratch_folder(workspace: Workspace) -> Iterator[Path]:
    """A folder on the store's file system, gone when the bracket closes; what a kill leaves, `gc` removes."""
    with workspace.store.operation():
        folder = workspace.store.home / "unpacked" / f".{uuid.uuid4().hex}"
        try:
            try:
                make_folder(folder)
            except OSError as error:
                raise from_os_error(error, f"make {folder}") from error
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

"""Whether a model's files are still those that its manifest names: for `serve --verify`."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Final

from mrpack.errors import IntegrityError, from_os_error
from mrpack.model.layer import ArtifactFile
from mrpack.store.layout import verify_stream
from mrpack.workspace import Workspace
from mrpack_runtime.engine import ModelBundle

# Files hashed at once: more disks than this feed few machines.
_JOBS_LIMIT: Final = 8


def check_files(workspace: Workspace, model: ModelBundle) -> None:
    """Hashes all that an engine may open, in constant memory.

    Raises:
        IntegrityError: a file was changed; the first of them.
        NotFound: the model is not in the store any more.
        HostRefused: a file cannot be read.
    """
    store = workspace.store
    bundle = store.bundle(store.find(str(model.digest)).manifest)

    def check(file: ArtifactFile) -> None:
        _check(bundle.folder / file.path, file, model.name)

    with ThreadPoolExecutor(min(_JOBS_LIMIT, os.cpu_count() or 1)) as pool:
        for _ in pool.map(check, bundle.artifact.files):
            pass


def _check(path: Path, file: ArtifactFile, model: str) -> None:
    try:
        stream = FileIO(path)
    except OSError as error:
        raise from_os_error(error, f"open {file.path}") from error
    try:
        verify_stream(stream, file.descriptor)
    except IntegrityError as error:
        raise IntegrityError(
            f"{model}: {file.path} is not what it was: {error.message}",
            expected=error.expected,
            actual=error.actual,
            hint="`mrpack repair` puts damaged files aside, `mrpack pull` brings them anew",
        ) from error

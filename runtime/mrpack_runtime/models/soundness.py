"""Whether a model's files are still those that its manifest names: for `serve --verify`."""

from __future__ import annotations

from collections.abc import Callable
from io import FileIO
from pathlib import Path

from mrpack.errors import IntegrityError, from_os_error
from mrpack.model.layer import ArtifactFile
from mrpack.store.verifying import StillWanted, verify_each, verify_stream
from mrpack.workspace import Workspace
from mrpack_runtime.engine import ModelBundle


def check_files(workspace: Workspace, model: ModelBundle, still_wanted: StillWanted) -> None:
    """Hashes all that an engine may open, in constant memory.

    Raises:
        IntegrityError: a file was changed; the first of them.
        NotFound: the model is not in the store any more.
        HostRefused: a file cannot be read.
    """
    store = workspace.store
    bundle = store.bundle(store.find(str(model.digest)).manifest)

    def check(file: ArtifactFile, no_other_failed: StillWanted) -> None:
        def go_on(_position: int) -> None:
            no_other_failed()
            still_wanted()

        _check(bundle.folder / file.path, file, model.name, go_on)

    verify_each(bundle.artifact.files, check)


def _check(path: Path, file: ArtifactFile, model: str, go_on: Callable[[int], None]) -> None:
    try:
        stream = FileIO(path)
    except OSError as error:
        raise from_os_error(error, f"open {file.path}") from error
    try:
        verify_stream(stream, file.descriptor, go_on)
    except IntegrityError as error:
        raise IntegrityError(
            f"{model}: {file.path} is not what it was: {error.message}",
            expected=error.expected,
            actual=error.actual,
            hint="`mrpack repair` puts damaged files aside, `mrpack pull` brings them anew",
        ) from error

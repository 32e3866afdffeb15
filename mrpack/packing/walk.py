"""The files of a model folder, in the order of their layers."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from pathspec import GitIgnoreSpec

from mrpack.errors import InvalidArtifact, NotFound, UsageError, from_os_error

IGNORE_FILE: Final = ".mrpackignore"
# Far above any published model; a home folder given by mistake has more.
FILES_LIMIT: Final = 20_000


_CACHE_ENTRY: Final = "models--"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which files of a folder are packed; patterns are those of .gitignore.

    With `include`, only what matches it; then what `exclude` or the folder's .mrpackignore matches goes.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def walk(folder: Path, choice: Choice) -> list[tuple[str, Path]]:
    """Relative path with forward slashes, and file, for every file that is packed.

    In the order of Docker Model Runner: the names of each folder sorted by their bytes, a folder at its own
    place. Names that begin with a dot are left out. Links are followed while they stay inside the folder, or
    inside the Hugging Face cache entry that it is a snapshot of.

    Raises:
        NotFound, UsageError: no folder.
        InvalidArtifact: a link that leads elsewhere or in circles, a special file, too many files.
    """
    if not folder.exists():
        raise NotFound(f"no such folder: {folder}")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    _refuse_cache_entry(folder)
    try:
        filter_ = _Filter(folder, choice)
        found = list(islice(_walk(folder, "", _roots(folder), filter_, ()), FILES_LIMIT + 1))
    except OSError as error:
        raise from_os_error(error, f"read {folder}") from error
    except UnicodeError:
        raise InvalidArtifact("not UTF-8 text", where=str(folder / IGNORE_FILE)) from None
    if len(found) > FILES_LIMIT:
        raise InvalidArtifact(f"more than {FILES_LIMIT} files", where=str(folder))
    return found


def _refuse_cache_entry(folder: Path) -> None:
    """It holds every file twice: as a blob, and in the snapshots as a link to it."""
    snapshots = folder / "snapshots"
    if not folder.resolve().name.startswith(_CACHE_ENTRY) or not snapshots.is_dir():
        return
    found = sorted(path.name for path in snapshots.iterdir() if path.is_dir())
    raise UsageError(
        f"{folder} is a whole entry of the Hugging Face cache",
        hint=f"package a snapshot of it: {snapshots / found[0]}" if found else "it has no snapshot",
    )


class _Filter:
    """A Choice for one folder."""

    def __init__(self, folder: Path, choice: Choice) -> None:
        self._include = GitIgnoreSpec.from_lines(choice.include) if choice.include else None
        self._exclude = GitIgnoreSpec.from_lines([*_ignore_lines(folder), *choice.exclude])

    def takes(self, path: str) -> bool:
        return (self._include is None or self._include.match_file(path)) and not self.refuses(path)

    def refuses(self, path: str) -> bool:
        """With a slash at its end, `path` is a folder, and all below it goes."""
        return self._exclude.match_file(path)


def _ignore_lines(folder: Path) -> list[str]:
    file = folder / IGNORE_FILE
    return file.read_text().splitlines() if file.is_file() else []


def _roots(folder: Path) -> tuple[Path, ...]:
    """Where links may lead: the folder, and the blobs of the Hugging Face cache entry that it belongs to.

    huggingface_hub, "Understand caching": models--ORG--NAME/snapshots/REVISION/… links to ../../blobs/….
    """
    real = folder.resolve()
    parts = real.parts
    for number, part in enumerate(parts[:-2]):
        if part.startswith(_CACHE_ENTRY) and parts[number + 1] == "snapshots":
            return (real, Path(*parts[: number + 1]) / "blobs")
    return (real,)


def _walk(
    folder: Path, prefix: str, roots: Sequence[Path], choice: _Filter, above: tuple[Path, ...]
) -> Iterator[tuple[str, Path]]:
    here = folder.resolve()
    if here in above:
        raise InvalidArtifact("links lead in circles", where=str(folder))
    for file in sorted(folder.iterdir(), key=os.fsencode):
        path = prefix + file.name
        if file.name.startswith(".") or choice.refuses(path):
            continue
        if file.is_symlink() and not _is_inside(Path(os.path.realpath(file)), roots):
            raise InvalidArtifact(
                "is a link out of the folder", where=str(file), hint="copy the file, or --exclude it"
            )
        mode = file.stat().st_mode
        if stat.S_ISDIR(mode):
            if not choice.refuses(f"{path}/"):
                yield from _walk(file, f"{path}/", roots, choice, (*above, here))
        elif not choice.takes(path):
            continue
        elif stat.S_ISREG(mode):
            yield path, file
        else:
            raise InvalidArtifact("is neither a file nor a folder", where=str(file))


def _is_inside(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)

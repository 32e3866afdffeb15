"""The folder `engines` of a home: a link for each engine, and the environments that the links point to.

engines/vllm                link to the environment in use, changed in one step
engines/.vllm-k3j2h1        an environment; complete when it has a record
engines/.vllm.lock          held by whoever installs or removes
engines/.vllm-k3j2h1/.in-use  held, together with others, by every gateway that may start from it
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from mrpack.errors import HostRefused, NotFound, from_os_error
from mrpack.store.locks import locked

_RECORD: Final = "mrpack-environment.json"
_IN_USE: Final = ".in-use"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What an environment of ours is; kept in it. `packages`: versions of those that were probed."""

    engine: str
    accelerator: str
    package: str
    version: str
    installer: str
    created: str
    packages: dict[str, str] = field(default_factory=dict)
    device: str = ""


@dataclass(frozen=True, slots=True)
class EngineFolders:
    """`folder` is `engines` of a home; it need not exist. Methods raise HostRefused as the disk does."""

    folder: Path

    def names(self) -> tuple[str, ...]:
        """Engines that have an environment, also those that were put there by hand."""
        try:
            found = sorted(path.name for path in self.folder.iterdir() if path.name[0] != ".")
        except OSError:
            return ()
        return tuple(name for name in found if (self.folder / name / "bin" / "python").exists())

    def stamp(self) -> frozenset[tuple[str, int]]:
        """Another one once an engine got or lost an environment. Takes microseconds."""
        try:
            with os.scandir(self.folder) as found:
                links = [(entry.name, entry.inode()) for entry in found if entry.name[0] != "."]
        except OSError:
            return frozenset()
        return frozenset(link for link in links if (self.folder / link[0] / "bin" / "python").exists())

    def broken_names(self) -> tuple[str, ...]:
        """Engines whose link leads nowhere, or whose Python is gone."""
        try:
            found = sorted(path.name for path in self.folder.iterdir() if path.name[0] != ".")
        except OSError:
            return ()
        return tuple(name for name in found if name not in self.names())

    def environment(self, engine: str) -> Path | None:
        """The folder behind the link; None when there is none, or the link leads nowhere."""
        link = self.folder / engine
        return link.resolve() if link.exists() else None

    def is_linked(self, engine: str) -> bool:
        return os.path.lexists(self.folder / engine)

    def record(self, engine: str) -> Record | None:
        """None for environments that mrpack did not make."""
        try:
            return Record(**json.loads((self.folder / engine / _RECORD).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    @contextlib.contextmanager
    def claimed(self, engine: str) -> Iterator[None]:
        """Nobody else installs or removes this engine meanwhile; what others left unfinished is removed.

        Raises:
            HostRefused: somebody else does.
        """
        with contextlib.ExitStack() as held:
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                mine = held.enter_context(locked(self.folder / f".{engine}.lock", wait=False))
            except OSError as error:
                raise from_os_error(error, "make the folder for engines") from error
            if not mine:
                raise HostRefused(
                    f"another install of {engine} is running", hint="wait for it, or end it, and repeat"
                )
            self.sweep(engine)
            yield

    def sweep(self, engine: str) -> None:
        """Removes environments that no link points to and no gateway uses. For whoever claimed the engine."""
        current = self.environment(engine)
        for path in self._environments(engine):
            if path != current:
                _remove(path)

    def make(self, engine: str) -> Path:
        """An empty folder beside the others."""
        try:
            return Path(tempfile.mkdtemp(prefix=f".{engine}-", dir=self.folder)).resolve()
        except OSError as error:
            raise from_os_error(error, "make an environment") from error

    def complete(self, environment: Path, record: Record) -> None:
        """Writes the record and makes the engine's link point there, in one step. For whoever claimed it."""
        link = self.folder / record.engine
        if link.is_dir() and not link.is_symlink():
            raise HostRefused(f"{link} was not made by mrpack", hint="move it away and repeat")
        new = environment / ".link"
        try:
            (environment / _IN_USE).touch(mode=0o600)
            (environment / _RECORD).write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
            new.symlink_to(environment.name, target_is_directory=True)
            new.replace(link)
        except OSError as error:
            raise from_os_error(error, f"put {record.engine} in its place") from error

    def remove(self, engine: str) -> Path:
        """Takes the engine away: the link first, then what it points to if it is ours.

        Raises:
            NotFound: there is none.
            HostRefused: a gateway uses it, or the folder was not made by mrpack.
        """
        link = self.folder / engine
        if not self.is_linked(engine):
            raise NotFound(
                f"{engine} has no environment in {self.folder}", hint="`mrpack engines` lists what is there"
            )
        if not link.is_symlink():
            raise HostRefused(f"{link} was not made by mrpack", hint="remove it by hand")
        environment = self.environment(engine)
        ours = environment if environment in self._environments(engine) else None
        with _alone(ours) if ours else contextlib.nullcontext(True) as alone:
            if not alone:
                raise HostRefused(f"a running gateway uses {engine}", hint="stop it, and repeat")
            try:
                link.unlink()
            except OSError as error:
                raise from_os_error(error, f"remove {engine}") from error
        if ours:
            _remove(ours)
        return link

    @contextlib.contextmanager
    def in_use(self) -> Iterator[tuple[Path, ...]]:
        """All environments, kept from removal as long as the block lasts, the process at the longest."""
        with contextlib.ExitStack() as held:
            found = []
            for engine in self.names():
                environment = self.environment(engine)
                if environment is None:
                    continue
                if environment not in self._environments(engine):
                    found.append(environment)  # not ours: nobody removes it
                    continue
                try:
                    mine = held.enter_context(locked(environment / _IN_USE, shared=True, wait=False))
                except OSError:  # removed just now, or a home of somebody else, where we remove nothing
                    mine = (environment / "bin" / "python").exists()
                if mine:
                    found.append(environment)
            yield tuple(found)

    def _environments(self, engine: str) -> list[Path]:
        try:
            folder = self.folder.resolve()
            return [
                path
                for path in folder.iterdir()
                if path.name.startswith(f".{engine}-") and path.is_dir() and not path.is_symlink()
            ]
        except OSError:
            return []


@contextlib.contextmanager
def _alone(environment: Path) -> Iterator[bool]:
    """Whether no gateway uses it, and none can begin to as long as the block lasts."""
    try:
        with locked(environment / _IN_USE, wait=False) as mine:
            yield mine
    except OSError as error:
        raise from_os_error(error, "lock an environment") from error


def _remove(environment: Path) -> None:
    """Unless it is in use. What cannot be removed stays for the next time."""
    with _alone(environment) as alone:
        if alone:
            shutil.rmtree(environment, ignore_errors=True)

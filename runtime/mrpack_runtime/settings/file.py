"""Settings by hand as one file of the config folder: whole after a crash, and shared by all processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mrpack.errors import HostRefused, InvalidArtifact, UsageError, from_os_error
from mrpack.model.overrides import OVERRIDES_LIMIT, Overrides, parse_overrides
from mrpack.oci.encoding import decode_object
from mrpack.oci.reference import Reference, ReferenceDefaults
from mrpack.store.durable import make_folder, read_plain, write_atomic
from mrpack.store.locks import locked

FILE_NAME: Final = "models.json"
# Some hundred models with every setting.
_LIMIT: Final = 256 * OVERRIDES_LIMIT
_MODELS: Final = "models"


@dataclass(frozen=True, slots=True)
class _Content:
    stamp: Hashable
    models: Mapping[str, Overrides]


class FileSettings:
    """A SettingsStore that lasts. In the file models have their full names, so that `defaults` may change.

    Every method raises HostRefused when the file cannot be read or is malformed.
    """

    def __init__(self, folder: Path, defaults: ReferenceDefaults) -> None:
        self.path = folder / FILE_NAME
        self._defaults = defaults
        self._content: _Content | None = None

    def get(self, name: str) -> Overrides:
        return self._load().models.get(self._full(name), Overrides())

    def all(self) -> Mapping[str, Overrides]:
        return {self._familiar(name): kept for name, kept in self._load().models.items()}

    def set(self, name: str, overrides: Overrides) -> None:
        self.change(name, lambda _: overrides)

    def change(self, name: str, edit: Callable[[Overrides], Overrides]) -> Overrides:
        """What `edit` makes of the settings that are kept, while nobody else changes any."""
        full = self._full(name)
        try:
            make_folder(self.path.parent)
            with locked(self.path.with_name(f"{FILE_NAME}.lock")):
                models = dict(self._load().models)
                changed = edit(models.pop(full, Overrides()))
                if changed:
                    models[full] = changed
                write_atomic(self.path, _encode(models), ingest=self.path.parent)
        except OSError as error:
            raise from_os_error(error, "keep the settings") from error
        return changed

    def stamp(self) -> Hashable:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise from_os_error(error, "read the settings") from error
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _load(self) -> _Content:
        """Read anew after a change; threads that do so at once read the same."""
        stamp = self.stamp()
        if self._content is None or self._content.stamp != stamp:
            self._content = _Content(stamp, {} if stamp is None else self._read())
        return self._content

    def _read(self) -> dict[str, Overrides]:
        where = str(self.path)
        try:
            document = decode_object(read_plain(self.path, _LIMIT), where, limit=_LIMIT)
            return _parse(document, where)
        except OSError as error:
            raise from_os_error(error, "read the settings") from error
        except InvalidArtifact as error:
            raise HostRefused(
                error.message, hint=error.hint or "correct or remove this file, which `mrpack configure` made"
            ) from error

    def _full(self, name: str) -> str:
        """Names that are no references stay as they are."""
        try:
            return str(Reference.parse(name, self._defaults))
        except UsageError:
            return name

    def _familiar(self, name: str) -> str:
        try:
            return Reference.parse(name, self._defaults).familiar(self._defaults)
        except UsageError:
            return name


def _parse(document: Mapping[str, Any], where: str) -> dict[str, Overrides]:
    models = document.get(_MODELS, {})
    if not isinstance(models, Mapping):
        raise InvalidArtifact("not an object", where=f"{where}: {_MODELS}")
    found = {}
    for name, settings in models.items():
        if not isinstance(settings, Mapping):
            raise InvalidArtifact("not an object", where=f"{where}: {name}")
        found[name] = parse_overrides(settings, f"{where}: {name}")
    return found


def _encode(models: Mapping[str, Overrides]) -> bytes:
    """For people to read, too."""
    document = {_MODELS: {name: models[name].to_json() for name in sorted(models)}}
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()

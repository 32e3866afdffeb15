"""The small files that say what a folder is, and of which version: a layout, a store of mrpack's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mrpack.errors import InvalidArtifact, from_os_error
from mrpack.oci.encoding import decode_object, encode
from mrpack.store.durable import read_plain, write_atomic

_LIMIT: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Mark:
    """A file of JSON, with the version that this mrpack knows under `key`."""

    kind: str
    name: str
    key: str
    known: str | int

    def is_on(self, root: Path, *, lenient: bool = False) -> bool:
        """False when it is not there, or broken and we are `lenient`.

        Raises:
            InvalidArtifact: another version than this mrpack knows, or broken.
            HostRefused: it cannot be read.
        """
        path = root / self.name
        try:
            version = decode_object(read_plain(path, _LIMIT), str(path)).get(self.key)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise from_os_error(error, f"open {root}") from error
        except InvalidArtifact as error:
            if lenient:
                return False
            raise InvalidArtifact(error.message, hint="`mrpack repair` writes it again") from None
        if version != self.known:
            raise InvalidArtifact(
                f"{self.kind} version {version!r}; this mrpack knows {self.known}",
                where=str(path),
                hint="upgrade mrpack, or take another folder: for the store, MRPACK_HOME",
            )
        return True

    @property
    def content(self) -> bytes:
        return encode({self.key: self.known})

    def write(self, root: Path, *, ingest: Path) -> None:
        """Raises OSError."""
        write_atomic(root / self.name, self.content, ingest=ingest)


# image-spec, "Image Layout".
LAYOUT: Final = Mark("image layout", "oci-layout", "imageLayoutVersion", "1.0.0")
# What lies in a store besides is mrpack's own, and the next version may keep it otherwise.
STORE: Final = Mark("store", "mrpack-store.json", "version", 1)

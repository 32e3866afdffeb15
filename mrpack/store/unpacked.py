"""Files out of archive layers, unpacked once and kept beside the store."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from mrpack.digest import ByteSource, Digest
from mrpack.errors import MrpackError, from_os_error
from mrpack.model.fields import objects_at
from mrpack.model.filepath import check_path
from mrpack.model.layer import ArtifactArchive, ArtifactFile, LayerRole
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import decode_object, encode, size_field, text_field
from mrpack.store.durable import make_folder, read_plain
from mrpack.store.placing import put_in_place

# As many files as an archive may hold, and 500 bytes about each.
_LISTING_LIMIT: Final = 16 * 1024 * 1024


class UnpackedArchives:
    """`root/<digest>-<how it is read>/`: `files.json`, and the files below `files/`. A cache like any."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def files(
        self, archive: ArtifactArchive, fetch: Callable[[Descriptor], ByteSource]
    ) -> list[tuple[ArtifactFile, Path]]:
        """What the archive holds, and where it lies; unpacked on first use. Two processes may do it at once.

        Raises:
            InvalidArtifact, IntegrityError, Unsupported, HostRefused: as `unpack`.
        """
        folder = self._root / _key(archive)
        found = _read_listing(folder)
        if found is None:
            from mrpack.store.untar import unpack  # noqa: PLC0415  # few models lie in archives

            aside = self._root / f".{folder.name}.{uuid.uuid4().hex}"
            try:
                make_folder(aside / "files")
                files = unpack(archive, fetch(archive.descriptor), aside / "files")
                (aside / "files.json").write_bytes(encode({"files": [_to_json(file) for file in files]}))
                put_in_place(aside, folder, lambda: _read_listing(folder) is not None)
            except OSError as error:
                raise from_os_error(error, f"unpack {archive.descriptor.digest}") from error
            finally:
                shutil.rmtree(aside, ignore_errors=True)
            found = files
        return [(file, folder / "files" / file.path) for file in found]

    def drop_all_but(self, live: Iterable[Digest]) -> None:
        """Only under the exclusive lock of the store."""
        if not self._root.is_dir():
            return
        wanted = {digest.hex for digest in live}
        for folder in self._root.iterdir():
            if folder.name.partition("-")[0] not in wanted:
                shutil.rmtree(folder, ignore_errors=True)


def _key(archive: ArtifactArchive) -> str:
    """One blob can be read in different ways: under another name, or of an image only one folder."""
    how = json.dumps([archive.name, archive.role, archive.inner, archive.named]).encode()
    return f"{archive.descriptor.digest.hex}-{Digest.of(how).short}"


def _to_json(file: ArtifactFile) -> dict[str, Any]:
    return {
        "path": file.path,
        "role": file.role.value,
        "format": file.format,
        **file.descriptor.to_json(),
    }


def _read_listing(folder: Path) -> tuple[ArtifactFile, ...] | None:
    """None when it was never unpacked, or something is gone or odd: then it is unpacked anew."""
    try:
        raw = read_plain(folder / "files.json", _LISTING_LIMIT)
        document = decode_object(raw, str(folder), limit=_LISTING_LIMIT)
        files = tuple(_from_json(item, str(folder)) for item in objects_at(document, "files", str(folder)))
        sizes = [(folder / "files" / file.path).lstat().st_size for file in files]
        if files and sizes == [file.descriptor.size for file in files]:
            return files
    except (OSError, MrpackError, ValueError):
        pass
    return None


def _from_json(item: dict[str, Any], where: str) -> ArtifactFile:
    return ArtifactFile(
        path=check_path(text_field(item, "path", where), where),
        role=LayerRole(text_field(item, "role", where)),
        format=text_field(item, "format", where),
        descriptor=Descriptor(
            media_type=text_field(item, "mediaType", where),
            digest=Digest.parse(item.get("digest"), where),
            size=size_field(item, "size", where),
        ),
    )

"""Archive layers of other tools become files, or nothing: what is hostile is refused before it has a name.

Members are written under numbers into a folder aside. Only when the archive was read to its end, its digest
was right, and all names were found to be safe together, do files get their names.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mrpack.digest import BUFFER_SIZE, ByteSource, Digest, VerifyingReader
from mrpack.errors import InvalidArtifact, from_os_error
from mrpack.model.filepath import check_path, check_tree
from mrpack.model.layer import ArtifactArchive, ArtifactFile, LayerRole
from mrpack.model.roles import role_in_archive
from mrpack.model.weight_formats import HEAD_SIZE, format_by_content, format_by_name
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import LAYER_LIMIT
from mrpack.oci.mediatypes import OCTET_STREAM
from mrpack.store.decompress import open_packed
from mrpack.store.tarstream import Member, MemberKind, TarReader

# Of an archive in bytes: above the largest published models.
DEFAULT_LIMIT: Final = 4 * 2**40
# No weights shrink to a hundredth. Small archives do: they are mostly padding.
_RATIO: Final = 100
_ALWAYS: Final = 1024 * 1024
# A base image has tens of thousands of members, a model at most as many files as layers.
_MEMBERS_LIMIT: Final = 1_000_000
# OCI image-spec, "Whiteouts": a layer's word for a deleted file of a lower one.
_WHITEOUT: Final = ".wh."


@dataclass(frozen=True, slots=True)
class _Staged:
    path: str
    file: Path
    size: int
    digest: Digest
    head: bytes


def unpack(
    archive: ArtifactArchive, source: ByteSource, folder: Path, *, limit: int = DEFAULT_LIMIT
) -> tuple[ArtifactFile, ...]:
    """The archive's files under their paths in `folder`, which nobody else may use; `source` is its blob.

    The files are read-only and synced (their names are not); their descriptors have digests computed on the
    way. At most `limit` bytes, and at most a hundred times the blob's size, are unpacked. Closes `source`.
    When the archive is refused, none of its files is in `folder`.

    Raises:
        InvalidArtifact: links, devices, unsafe or clashing names, too much of anything, a malformed archive.
        IntegrityError: the blob is not what its descriptor says.
        Unsupported: zstd, without a library for it.
        HostRefused: no space.
    """
    where = archive.name or str(archive.descriptor.digest)
    aside = folder / f".unpack.{uuid.uuid4().hex}"
    reader = VerifyingReader(source, archive.descriptor.digest, archive.descriptor.size, where)
    try:
        aside.mkdir(mode=0o700, parents=True)
        budget = min(limit, max(_RATIO * archive.descriptor.size, _ALWAYS))
        stream = _Capped(open_packed(reader, archive.packing, where), budget, where)
        staged = _named(archive, list(_stage(archive, stream, aside, where)))
        files = tuple(_describe(archive, file, alone=len(staged) == 1) for file in staged)
        _place(staged, folder, where, replace=bool(archive.inner))
    except OSError as error:
        raise from_os_error(error, f"unpack {where}") from error
    finally:
        source.close()
        shutil.rmtree(aside, ignore_errors=True)
    return files


class _Capped:
    """Gives up at the first byte above a budget."""

    def __init__(self, source: ByteSource, budget: int, where: str) -> None:
        self._source = source
        self._budget = budget
        self._left = budget
        self._where = where

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._source.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise InvalidArtifact(f"unpacks to more than {self._budget} bytes", where=self._where)
        return count

    def close(self) -> None:
        self._source.close()


def _stage(archive: ArtifactArchive, source: ByteSource, aside: Path, where: str) -> Iterator[_Staged]:
    """Reads to the end of the source, so that its digest is checked."""
    reader = TarReader(source, where)
    buffer = memoryview(bytearray(BUFFER_SIZE))
    files: set[str] = set()
    folders: set[str] = set()
    members = 0
    while member := reader.next_member():
        members += 1
        if members > _MEMBERS_LIMIT or len(files) + len(folders) > LAYER_LIMIT:
            raise InvalidArtifact("too many files", where=where)
        path = _path_of(member, archive.inner, where)
        if path is None:
            continue
        if path in files or (path in folders and member.kind is MemberKind.FILE):
            raise InvalidArtifact(f"{path!r} twice", where=where)
        if member.kind is MemberKind.FOLDER:
            folders.add(path)
        else:
            files.add(path)
            yield _write(reader, path, aside / str(members), buffer)


def _path_of(member: Member, inner: str, where: str) -> str | None:
    """The checked path of a file or folder; None for what does not count.

    A leading `./` is how the tar program writes any name. Images are whole file systems, and so may have
    absolute names and links: links in the part that counts are passed over, since they hold no content.
    """
    name = member.name.removesuffix("/")
    if inner:
        name = name.lstrip("/")
    while name.startswith("./"):
        name = name[2:].lstrip("/") if inner else name[2:]
    if inner:
        first, _, name = name.partition("/")
        if first != inner or member.kind is MemberKind.SYMBOLIC_LINK:
            return None
    if name in {"", "."} and member.kind is MemberKind.FOLDER:
        return None
    if member.kind not in {MemberKind.FILE, MemberKind.FOLDER}:
        raise InvalidArtifact(
            f"{name[:120]!r} is a {member.kind}; only files and folders are unpacked", where=where
        )
    if inner and name.rpartition("/")[2].startswith(_WHITEOUT):
        raise InvalidArtifact(f"{name[:120]!r} deletes a file of a lower layer", where=where)
    return check_path(name, where)


def _write(reader: TarReader, path: str, file: Path, buffer: memoryview) -> _Staged:
    digest = hashlib.sha256()
    head = b""
    size = 0
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o444)
    try:
        while count := reader.readinto(buffer):
            chunk = buffer[:count]
            digest.update(chunk)
            if len(head) < HEAD_SIZE:
                head += bytes(chunk[:HEAD_SIZE])
            size += count
            while chunk:
                chunk = chunk[os.write(handle, chunk) :]
        # They are looked at again by their sizes alone, which a power loss may leave without the bytes.
        os.fsync(handle)
    finally:
        os.close(handle)
    return _Staged(path, file, size, Digest("sha256", digest.hexdigest()), head[:HEAD_SIZE])


def _named(archive: ArtifactArchive, staged: Sequence[_Staged]) -> Sequence[_Staged]:
    """An only file has the name that the manifest gives it: the one in the archive may be shorter."""
    check_tree([file.path for file in staged], archive.name)
    if len(staged) != 1 or not archive.name:
        return staged
    only = staged[0]
    if f"/{only.path}".endswith(f"/{archive.name}") or f"/{archive.name}".endswith(f"/{only.path}"):
        return [_Staged(archive.name, only.file, only.size, only.digest, only.head)]
    return staged


def _describe(archive: ArtifactArchive, file: _Staged, *, alone: bool) -> ArtifactFile:
    role = role_in_archive(archive, file.path, file.head, alone=alone)
    weights = role in {LayerRole.WEIGHTS, LayerRole.MMPROJ}
    return ArtifactFile(
        path=file.path,
        role=role,
        format=(format_by_name(file.path) or format_by_content(file.head)) if weights else "",
        descriptor=Descriptor(media_type=OCTET_STREAM, digest=file.digest, size=file.size),
    )


def _place(staged: Sequence[_Staged], folder: Path, where: str, *, replace: bool) -> None:
    """`replace`: a file of a lower layer gives way, as in an image."""
    for file in staged:
        target = folder / file.path
        if target.is_dir() or (os.path.lexists(target) and not replace):
            raise InvalidArtifact(f"{file.path!r} is in another layer too", where=where)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise InvalidArtifact(
                f"a folder of {file.path!r} is a file in another layer", where=where
            ) from None
    for file in staged:
        file.file.rename(folder / file.path)

"""A DDUF file that was read strictly: a pipeline and the files of its components, checked."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mrpack.errors import IntegrityError, InvalidArtifact
from mrpack.formats.dduf.directory import DdufEntry, read_directory
from mrpack.formats.dduf.rules import check_names, check_structure
from mrpack.model.pipeline import INDEX_LIMIT, INDEX_NAME, Pipeline, parse_pipeline
from mrpack.readable import ReadableFile, open_file

_STEP: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DdufArchive:
    """`entries` in the order of their content."""

    file: ReadableFile
    entries: tuple[DdufEntry, ...]
    pipeline: Pipeline

    @property
    def files(self) -> tuple[ReadableFile, ...]:
        """The entries as files that can be read where they lie; their checksums are not looked at then."""
        return tuple(as_file(self.file, entry) for entry in self.entries)


def read_dduf(path: Path, name: str = "") -> DdufArchive:
    """`name` is what the model calls the file, by default as it is called here.

    Raises as `parse_dduf`, and NotFound when there is no such file.
    """
    return parse_dduf(open_file(path, name))


def parse_dduf(file: ReadableFile) -> DdufArchive:
    """All that can be checked without reading the content: `check_content` does that.

    Refused is whatever another reader could take for something else: entries twice, links, headers that
    contradict each other, bytes between, before or behind the entries, compression, encryption.

    Raises:
        InvalidArtifact: whatever is wrong; no other error comes from the content.
    """
    entries = read_directory(file)
    names = [entry.name for entry in entries]
    check_names(names, file.where)
    index = entries[names.index(INDEX_NAME)]
    if index.size > INDEX_LIMIT:
        raise InvalidArtifact(f"{INDEX_NAME} of {index.size} bytes", where=file.where)
    pipeline = parse_pipeline(b"".join(read_entry(file, index)), as_file(file, index).where)
    check_structure(pipeline, frozenset(names), file.where)
    return DdufArchive(file=file, entries=entries, pipeline=pipeline)


class ContentCheck:
    """Compares entries with their checksums while somebody else reads the whole file, from its start."""

    def __init__(self, archive: DdufArchive) -> None:
        self._where = archive.file.where
        self._waiting = iter(archive.entries)
        self._entry = next(self._waiting, None)
        self._at = 0
        self._checksum = 0

    def update(self, chunk: memoryview) -> None:
        """The next bytes. Raises IntegrityError as soon as an entry is not what its checksum says."""
        start = self._at
        self._at += len(chunk)
        while self._entry is not None:
            first, end = self._entry.offset, self._entry.offset + self._entry.size
            self._checksum = zlib.crc32(chunk[max(0, first - start) : max(0, end - start)], self._checksum)
            if end > self._at:
                return
            _compare(self._entry, self._checksum, self._where)
            self._entry, self._checksum = next(self._waiting, None), 0


def check_content(archive: DdufArchive) -> None:
    """Read every byte; raises IntegrityError when an entry is not what its checksum says."""
    for entry in archive.entries:
        for _ in read_entry(archive.file, entry):
            pass


def read_entry(file: ReadableFile, entry: DdufEntry) -> Iterator[bytes]:
    """Pieces of at most 1 MiB; raises IntegrityError at the end when the checksum is another."""
    checksum, at = 0, 0
    while at < entry.size:
        piece = file.read_at(entry.offset + at, min(_STEP, entry.size - at))
        if not piece:
            raise InvalidArtifact("became shorter while it was read", where=file.where)
        checksum = zlib.crc32(piece, checksum)
        at += len(piece)
        yield piece
    _compare(entry, checksum, file.where)


def _compare(entry: DdufEntry, checksum: int, where: str) -> None:
    if checksum != entry.crc32:
        raise IntegrityError(
            f"{where}: content of {entry.name} has CRC-32 {checksum:08x}, not {entry.crc32:08x} as listed",
            expected=f"{entry.crc32:08x}",
            actual=f"{checksum:08x}",
        )


def as_file(file: ReadableFile, entry: DdufEntry) -> ReadableFile:
    def read_at(offset: int, count: int) -> bytes:
        return file.read_at(entry.offset + offset, max(0, min(count, entry.size - offset)))

    return ReadableFile(name=entry.name, where=f"{file.where}!{entry.name}", size=entry.size, read_at=read_at)

"""An image layout as one tar, written from its first byte to its last: into a pipe, and on no disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Protocol

from mrpack.content.documents import read_document, walk_documents
from mrpack.content.ports import Fetcher
from mrpack.content.progress import Advanced, Finished, Outcome, Planned, Report
from mrpack.digest import BUFFER_SIZE, Digest, VerifyingReader
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index
from mrpack.store.archive_reading import INDEX_NAME
from mrpack.store.entries import REF_NAME
from mrpack.store.marks import LAYOUT
from mrpack.store.tar_members import BlobHeaders, archive_size, header, padded


class Sink(Protocol):
    """A file or pipe that is written to in order. Raises OSError."""

    def write(self, content: bytes | memoryview, /) -> object: ...


class Outline:
    """What an archive holds, known before its first byte: as `copy` would bring it to an `OciArchive`."""

    def __init__(self, source: Fetcher) -> None:
        self._source = source
        self._content: dict[Digest, Descriptor] = {}
        self._entries: tuple[Descriptor, ...] = ()

    def add(self, root: Descriptor, ref: str | None = None) -> None:
        """A manifest or index with all that it names; one that has no `ref` belongs to another.

        Raises:
            NotFound, IntegrityError, InvalidArtifact: a document that is not there, or not what it should be.
        """
        for descriptor, _, document in walk_documents(root, partial(read_document, self._source)):
            if not isinstance(document, Index):
                self._content.update((blob.digest, blob) for blob in document.blobs)
            self._content[descriptor.digest] = descriptor
            if document.subject is not None and (ref is None or descriptor != root):
                self._list(descriptor.plain())
        if ref is not None:
            self._list(root.plain().with_annotations({REF_NAME: ref}))

    def _list(self, entry: Descriptor) -> None:
        self._entries = (*(other for other in self._entries if other != entry), entry)

    def write(self, sink: Sink, report: Report) -> None:
        """All of it, verified on the way. What ends by an error has no index at its end, and is no archive.

        Raises:
            OSError: of `sink`.
            IntegrityError, NotFound, HostRefused: of the content.
        """
        report(Planned(tuple(self._content.values())))
        headers = BlobHeaders()
        end = 0
        for piece in self._pieces(headers, report):
            sink.write(piece)
            end += len(piece)
        sink.write(bytes(archive_size(end) - end))

    def _pieces(self, headers: BlobHeaders, report: Report) -> Iterator[bytes | memoryview]:
        yield from _member(header(LAYOUT.name, len(LAYOUT.content)), (LAYOUT.content,))
        for blob in self._content.values():
            yield from _member(headers.of(blob.digest, blob.size), self._read(blob, report))
            report(Finished(blob, Outcome.TRANSFERRED))
        index = Index.build(self._entries).raw
        yield from _member(header(INDEX_NAME, len(index)), (index,))

    def _read(self, blob: Descriptor, report: Report) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(BUFFER_SIZE))
        position = 0
        with contextlib.closing(self._source.fetch(blob)) as stream:
            reader = VerifyingReader(stream, blob.digest, blob.size)
            while count := reader.readinto(buffer):
                yield buffer[:count]
                position += count
                report(Advanced(blob, position))


def _member(heading: bytes, content: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    yield heading
    size = 0
    for piece in content:
        yield piece
        size += len(piece)
    yield bytes(padded(size) - size)

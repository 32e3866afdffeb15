"""Code in models that others made: looked for where they are shown and where they arrive."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mrpack.content.artifacts import from_whoever_is_right, read_model
from mrpack.content.ports import Fetcher, NoPartsError, PartFetcher
from mrpack.digest import ByteSource
from mrpack.errors import InvalidArtifact, NotFound, Unsupported
from mrpack.formats.code import Finding, find_code
from mrpack.model.artifact import ModelArtifact
from mrpack.model.layer import ArtifactFile
from mrpack.oci.descriptor import Descriptor
from mrpack.readable import ReadableFile

_DDUF = "dduf"


def named_code(artifact: ModelArtifact) -> tuple[Finding, ...]:
    """What the manifest admits; others may keep silent about it."""
    return tuple(Finding(path, "code, as its manifest says") for path in artifact.named_code)


def find_stored_code(source: Fetcher, artifact: ModelArtifact) -> tuple[Finding, ...]:
    """What its files would run, by a few reads of each, however large.

    From a registry these are requests for ranges, whose bytes no digest covers: what has arrived is looked at
    again (`code_notes`). Files in archives are looked at when they are unpacked: until then the manifest's
    word counts for them.

    Raises InvalidArtifact, NotFound, IntegrityError, RegistryUnavailable.
    """
    found = find_code(file for item in artifact.files for file in _files(source, item))
    paths = {finding.path for finding in found}
    return (*found, *(finding for finding in named_code(artifact) if finding.path not in paths))


def code_notes(source: Fetcher, manifest: Descriptor) -> tuple[str, ...]:
    """One line about what has arrived, if there is code in it; none for what is no model, or a broken one."""
    try:
        found = find_stored_code(source, read_model(source, manifest))
    except (Unsupported, InvalidArtifact, NotFound):
        return ()
    if not found:
        return ()
    first, more = found[0], f", and {len(found) - 1} more" if len(found) > 1 else ""
    return (f"carries code: {first.path}: {first.reason}{more}; no engine is allowed to run it",)


def _files(source: Fetcher, item: ArtifactFile) -> Iterator[ReadableFile]:
    """The file, or what is in it. One that is malformed is no model, which its engine will say."""
    file = readable(source, item)
    if item.format != _DDUF:
        yield file
        return
    from mrpack.formats.dduf import parse_dduf  # noqa: PLC0415  # most models are none

    with contextlib.suppress(InvalidArtifact):
        yield from parse_dduf(file).files


def readable(source: Fetcher, item: ArtifactFile) -> ReadableFile:
    """The file where it lies: what is read of it is fetched, and not verified."""
    blob = item.descriptor

    def read_at(offset: int, count: int) -> bytes:
        stop = min(offset + count, blob.size)
        if offset >= stop:
            return b""
        return from_whoever_is_right(source, blob, lambda: _read_part(source, blob, offset, stop))

    return ReadableFile(name=item.path, where=item.path, size=item.descriptor.size, read_at=read_at)


def _read_part(source: Fetcher, blob: Descriptor, start: int, stop: int) -> bytes:
    """May be shorter."""
    buffer = memoryview(bytearray(stop - start))
    count = 0
    with contextlib.closing(_open(source, blob, start, stop)) as stream:
        while count < len(buffer) and (got := stream.readinto(buffer[count:])):
            count += got
    return bytes(buffer[:count])


def _open(source: Fetcher, blob: Descriptor, start: int, stop: int) -> ByteSource:
    """No more than the part, where the source can give one: the connection is free for the next one."""
    if isinstance(source, PartFetcher) and stop - start < blob.size:
        with contextlib.suppress(NoPartsError):
            return source.fetch_range(blob, start, stop)
    return source.fetch(blob, start)

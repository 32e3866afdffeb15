"""From a plan to an artifact that can be copied anywhere: hash each file once, write config and manifest."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from mrpack.content.crew import crew
from mrpack.content.memory import MemoryTarget
from mrpack.content.ports import FileBacked, Mirrored, Source
from mrpack.digest import BUFFER_SIZE, ByteSource, Digest
from mrpack.errors import IntegrityError, MrpackError, from_os_error
from mrpack.model.annotations import TITLE
from mrpack.model.artifact import HashedLayer, WritableDialect
from mrpack.model.layer import PlannedLayer
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest
from mrpack.oci.mediatypes import OCTET_STREAM
from mrpack.packing.plan import ContentCheck, Plan
from mrpack.readable import open_at

# What identifies the state of a file between hashing and reading it again.
_Stamp = tuple[int, int, int, int]
_REF: Final = "packed"


class PackedArtifact:
    """A finished artifact as a source of `copy`: small blobs in memory, weights in the user's files.

    What was not packed now comes from `base`. A file that changes between hashing and copying is refused.
    """

    def __init__(
        self,
        manifest: Manifest,
        memory: MemoryTarget,
        files: dict[Digest, tuple[Path, _Stamp]],
        base: Source | None = None,
    ) -> None:
        self.manifest = manifest
        self.ref = _REF
        self._memory = memory
        self._files = files
        self._base = base
        self._base_files: object = base  # a type checker takes no Source for a FileBacked

    @property
    def descriptor(self) -> Descriptor:
        return self.manifest.descriptor

    def composed(self, descriptor: Descriptor) -> Manifest | None:
        return self.manifest if descriptor == self.descriptor else None

    def resolve(self, ref: str) -> Descriptor:
        return self._memory.resolve(ref)

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> ByteSource:
        path = self.blob_file(descriptor)
        if path is None:
            if self._base is None or self._memory.exists(descriptor):
                return self._memory.fetch(descriptor, offset)
            return self._base.fetch(descriptor, offset)
        return open_at(path, offset, "package")

    def blob_file(self, descriptor: Descriptor) -> Path | None:
        found = self._files.get(descriptor.digest)
        if found is None:
            files = self._base_files
            return files.blob_file(descriptor) if isinstance(files, FileBacked) else None
        path, stamp = found
        if _stamp(path) != stamp:
            raise IntegrityError(
                f"{path} changed while it was packaged", expected=str(descriptor.digest), hint="repeat"
            )
        return path

    def pass_over(self, descriptor: Descriptor, failure: MrpackError) -> bool:
        mirrors = self._base_files
        return isinstance(mirrors, Mirrored) and mirrors.pass_over(descriptor, failure)


def pack(
    plan: Plan,
    dialect: WritableDialect,
    *,
    base: Source | None = None,
    jobs: int = 2,
    advance: Callable[[PlannedLayer, int], None] = lambda _layer, _position: None,
) -> PackedArtifact:
    """Hash the plan's files (each distinct file once) and write config and manifest.

    `base` has the content of layers that are stored already.

    `advance` is told, from several threads, the bytes of a layer that are hashed.
    """
    digests = _hash(plan, jobs, advance)
    memory = MemoryTarget()
    files: dict[Digest, tuple[Path, _Stamp]] = {}
    layers = []
    for layer, (digest, stamp) in zip(plan.layers, digests, strict=True):
        if isinstance(layer.content, bytes):
            memory.add(OCTET_STREAM, layer.content)
        elif isinstance(layer.content, Path) and stamp is not None:
            files.setdefault(digest, (layer.content, stamp))
        layers.append(
            HashedLayer(
                path=layer.path,
                role=layer.role,
                format=layer.format,
                metadata=layer.metadata,
                content=_content(layer, digest, titled=plan.titles),
            )
        )
    config, manifest = dialect.write(plan.config, layers, folder=plan.folder, annotations=plan.annotations)
    memory.add(manifest.config.media_type, config)
    memory.push_manifest(manifest.descriptor, manifest.raw, _REF)
    return PackedArtifact(manifest, memory, files, base)


def _hash(
    plan: Plan, jobs: int, advance: Callable[[PlannedLayer, int], None]
) -> list[tuple[Digest, _Stamp | None]]:
    """One future a worker: with one a file, ten thousand files take 12 MB more."""
    found: dict[int, tuple[Digest, _Stamp | None]] = {}
    left = deque(enumerate(plan.layers))

    def work(hasher: _Hasher) -> None:
        while True:
            try:
                number, layer = left.popleft()
            except IndexError:
                return
            try:
                found[number] = hasher.digest(layer)
            except BaseException:
                left.clear()
                raise

    with crew(jobs) as (pool, stop):
        hasher = _Hasher(advance, plan.checks, stop)
        for worker in [pool.submit(work, hasher) for _ in range(jobs)]:
            worker.result()
    return [found[number] for number in range(len(found))]


def _content(layer: PlannedLayer, digest: Digest, *, titled: bool) -> Descriptor:
    if isinstance(layer.content, Descriptor):
        content = layer.content
    else:
        content = Descriptor(media_type=OCTET_STREAM, digest=digest, size=layer.metadata.size)
    return content.with_annotations({**content.annotations, TITLE: layer.path}) if titled else content


class _Hasher:
    """Digests of layers; the same path is read once, also when two layers share it."""

    def __init__(
        self,
        advance: Callable[[PlannedLayer, int], None],
        checks: Mapping[Path, Callable[[], ContentCheck]],
        stop: threading.Event,
    ) -> None:
        self._advance = advance
        self._checks = checks
        self._stop = stop
        self._lock = threading.Lock()
        self._locks: dict[Path, threading.Lock] = {}
        self._done: dict[Path, tuple[Digest, _Stamp]] = {}

    def digest(self, layer: PlannedLayer) -> tuple[Digest, _Stamp | None]:
        if isinstance(layer.content, Descriptor):
            return layer.content.digest, None
        if isinstance(layer.content, bytes):
            return Digest.of(layer.content), None
        path = layer.content
        with self._lock:
            own = self._locks.setdefault(path, threading.Lock())
        with own:
            if path not in self._done:
                self._done[path] = self._hash_file(layer, path)
            return self._done[path]

    def _hash_file(self, layer: PlannedLayer, path: Path) -> tuple[Digest, _Stamp]:
        digest = hashlib.sha256()
        check = self._checks[path]() if path in self._checks else None
        buffer = memoryview(bytearray(BUFFER_SIZE))
        count = 0
        stamp = _stamp(path)
        try:
            with path.open("rb", buffering=0) as file:
                while not self._stop.is_set() and (read := file.readinto(buffer)):
                    digest.update(buffer[:read])
                    if check is not None:
                        check.update(buffer[:read])
                    count += read
                    self._advance(layer, count)
        except OSError as error:
            raise from_os_error(error, f"package {path}") from error
        if count != layer.metadata.size or _stamp(path) != stamp:
            raise IntegrityError(f"{path} changed while it was packaged", hint="repeat")
        return Digest("sha256", digest.hexdigest()), stamp


def _stamp(path: Path) -> _Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116  # one call for the four facts
    except OSError as error:
        raise from_os_error(error, f"package {path}") from error
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def with_created(plan: Plan, created: str) -> Plan:
    """`created` in RFC 3339, as the artifact will say it."""
    return replace(plan, config=replace(plan.config, created=created))

"""An OCI image layout on disk as a target: blobs, `index.json`, and references in its annotations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from mrpack.content.ports import Opener
from mrpack.digest import ByteSource, BytesSource
from mrpack.errors import HostRefused, InvalidArtifact, NotFound, from_os_error
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import decode_object
from mrpack.oci.manifest import Index
from mrpack.store.blobs import BlobFolder
from mrpack.store.durable import locked, make_folder, write_atomic

# image-spec, "Image Layout".
LAYOUT_VERSION: Final = "1.0.0"
REF_NAME: Final = "org.opencontainers.image.ref.name"
# 10,000 models take about 4 MB.
_INDEX_LIMIT: Final = 64 * 1024 * 1024


class OciLayout:
    """A folder that skopeo, oras and umoci read too. Safe for threads and processes.

    Reading takes no lock and writes nothing, so that a read-only folder can be read. `create=False` refuses a
    folder that is not a layout yet.
    """

    def __init__(self, root: Path, *, create: bool = True) -> None:
        self.root = root
        self.blobs = BlobFolder(root)
        self._create = create
        if not create and not (root / "oci-layout").is_file():
            raise NotFound(f"{root} is not an OCI image layout: no oci-layout file")
        self._check_version()

    def _check_version(self) -> None:
        path = self.root / "oci-layout"
        try:
            version = decode_object(path.read_bytes(), str(path)).get("imageLayoutVersion")
        except FileNotFoundError:
            return
        except OSError as error:
            raise from_os_error(error, f"open {self.root}") from error
        if version != LAYOUT_VERSION:
            raise InvalidArtifact(
                f"image layout version {version!r} is not {LAYOUT_VERSION}", where=str(path)
            )

    def prepare(self) -> None:
        """Make the folder a layout. Idempotent; every writing call does it first."""
        if (self.root / "index.json").is_file():
            return
        try:
            make_folder(self.root)
            with locked(self.root / ".lock"):
                if not (self.root / "oci-layout").is_file():
                    write_atomic(self.root / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
                if not (self.root / "index.json").is_file():
                    write_atomic(self.root / "index.json", Index.build(()).raw)
        except OSError as error:
            raise from_os_error(error, f"create layout {self.root}") from error

    def index(self) -> Index:
        path = self.root / "index.json"
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return Index.build(())
        except OSError as error:
            raise from_os_error(error, "read index") from error
        return Index.parse(raw, str(path), limit=_INDEX_LIMIT)

    def update(self, change: Callable[[tuple[Descriptor, ...]], Sequence[Descriptor]]) -> None:
        """Replace the entries of the index under its lock; `change` is called once with the current ones."""
        self.prepare()
        try:
            with locked(self.root / ".lock"):
                index = self.index()
                entries = tuple(change(index.manifests))
                if entries != index.manifests:
                    write_atomic(self.root / "index.json", Index.build(entries, index.annotations).raw)
        except OSError as error:
            raise from_os_error(error, "write index") from error

    # The port.

    def resolve(self, ref: str) -> Descriptor:
        for entry in self.index().manifests:
            if ref in (entry.annotations.get(REF_NAME), str(entry.digest)):
                return entry.plain()
        raise NotFound(f"no {ref!r} in {self.root}")

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> ByteSource:
        return self.blobs.open(descriptor.digest, descriptor.size, offset)

    def exists(self, descriptor: Descriptor) -> bool:
        return self.blobs.has(descriptor.digest, descriptor.size)

    def push(self, descriptor: Descriptor, open_at: Opener) -> None:
        self.prepare()
        self.blobs.add(descriptor.digest, descriptor.size, open_at)

    def push_manifest(self, descriptor: Descriptor, raw: bytes, ref: str | None) -> None:
        if not self.exists(descriptor):
            self.push(descriptor, lambda offset: BytesSource(raw[offset:]))
        if ref is not None:
            self.tag(descriptor, ref)

    def tag(self, descriptor: Descriptor, ref: str) -> None:
        if not self.exists(descriptor):
            raise NotFound(f"no manifest {descriptor.digest} in {self.root}")
        entry = descriptor.plain().with_annotations({REF_NAME: ref})
        self.update(lambda entries: [*_without(entries, ref), entry])

    def untag(self, ref: str) -> None:
        """Idempotent; content stays until `gc`."""
        self.update(lambda entries: list(_without(entries, ref)))

    def tags(self) -> list[str]:
        return sorted(ref for entry in self.index().manifests if (ref := entry.annotations.get(REF_NAME)))

    def blob_file(self, descriptor: Descriptor) -> Path | None:
        return self.blobs.path(descriptor.digest) if self.exists(descriptor) else None

    def adopt(self, descriptor: Descriptor, path: Path) -> None:
        self.prepare()
        self.blobs.adopt(descriptor.digest, descriptor.size, path)

    # Keeping content alive while it is not yet named.

    @contextlib.contextmanager
    def operation(self) -> Iterator[None]:
        """Bracket for writers: content without a reference is not collected while one is open."""
        self.prepare()
        with locked(self.root / ".gc-lock", shared=True):
            yield

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Bracket for `gc`: alone on the store. Raises HostRefused when an operation is running."""
        self.prepare()
        with locked(self.root / ".gc-lock", wait=False) as alone:
            if not alone:
                raise HostRefused(
                    f"another mrpack is writing to {self.root}", hint="repeat when it has finished"
                )
            yield


def _without(entries: Sequence[Descriptor], ref: str) -> Iterator[Descriptor]:
    return (entry for entry in entries if entry.annotations.get(REF_NAME) != ref)

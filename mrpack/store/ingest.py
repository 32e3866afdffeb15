"""A blob that arrives in pieces, from somebody who says only at the end what it is."""

from __future__ import annotations

import hashlib
import os
import uuid
from typing import Final, Self

from mrpack.digest import BUFFER_SIZE, Digest
from mrpack.errors import IntegrityError, from_os_error
from mrpack.store.blobs import BlobFolder
from mrpack.store.durable import make_folder
from mrpack.store.locks import lock

DEFAULT_ALGORITHM: Final = "sha256"


class Ingest:
    """Bytes are hashed once, while they arrive, and named by `finish`. One thread at a time.

    The part file is locked for as long as this lives, so that `gc` leaves it alone; of a killed process, `gc`
    removes it. `close` drops what was not finished. A failed `write` makes an ingest useless: close it.
    """

    def __init__(self, blobs: BlobFolder, algorithm: str = DEFAULT_ALGORITHM) -> None:
        self._blobs = blobs
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self._part = blobs.ingest_folder / f"{uuid.uuid4().hex}.pieces"
        self._handle = -1
        self.count = 0
        """Bytes taken so far."""
        try:
            make_folder(blobs.ingest_folder)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._handle = os.open(self._part, flags, 0o600)
            lock(self._handle)
        except OSError as error:
            self.close()
            raise from_os_error(error, "write blob") from error

    def write(self, chunk: memoryview) -> None:
        """Raises HostRefused."""
        rest = chunk
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError as error:
            raise from_os_error(error, "write blob") from error
        self._hash.update(chunk)
        self.count += len(chunk)

    def finish(self, digest: Digest) -> None:
        """Make the blob visible under `digest`, as `BlobFolder.add` does.

        Raises:
            IntegrityError: the bytes have another digest; nothing becomes visible.
        """
        actual = self._actual(digest.algorithm)
        if actual != digest.hex:
            raise IntegrityError(
                f"content has digest {digest.algorithm}:{actual}",
                expected=str(digest),
                actual=f"{digest.algorithm}:{actual}",
            )
        if not self._blobs.has(digest, self.count):
            try:
                self._blobs.settle(self._part, self._handle, digest)
            except OSError as error:
                raise from_os_error(error, f"write blob {digest.short}") from error
        self.close()

    def _actual(self, algorithm: str) -> str:
        """Reads the part again when it was announced under another algorithm."""
        if algorithm != self._algorithm:
            self._algorithm = algorithm
            self._hash = hashlib.new(algorithm)
            buffer = memoryview(bytearray(BUFFER_SIZE))
            os.lseek(self._handle, 0, os.SEEK_SET)
            while count := os.readv(self._handle, [buffer]):
                self._hash.update(buffer[:count])
        return self._hash.hexdigest()

    def close(self) -> None:
        """Idempotent."""
        if self._handle >= 0:
            self._part.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

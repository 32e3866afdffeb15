"""Upload sessions: blobs that arrive in one or several requests."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Final

from mrpack.digest import BUFFER_SIZE, ByteSource, Digest
from mrpack.distribution.openfiles import at_most
from mrpack.errors import MrpackError, NotFound
from mrpack.store.blobs import BlobFolder
from mrpack.store.ingest import DEFAULT_ALGORITHM, Ingest

# A client that lost its connection has this long to come back.
_EXPIRY_S: Final = 15 * 60.0
# Each holds an open file.
_SESSIONS_LIMIT: Final = 256
# At the limit, one that was left alone this long makes room.
_IDLE_S: Final = 60.0
# How long a request waits for the one before it, whose client may have gone unnoticed.
_TURN_S: Final = 2.0


class BusyError(Exception):
    """Too many sessions, or another request is writing to this one."""


class Upload:
    """One session. What was received stays when a request breaks, so that the client can go on after it."""

    def __init__(self, repository: str, ingest: Ingest, now: float) -> None:
        self.id = uuid.uuid4().hex
        self.repository = repository
        self.touched = now
        self.turn = threading.Lock()
        """Held by the one thread that writes to this session or ends it."""
        self._ingest = ingest

    @property
    def count(self) -> int:
        """Bytes received and hashed."""
        return self._ingest.count

    def receive(self, source: ByteSource) -> None:
        """Everything until the end of `source`; when it breaks off, what came before is kept."""
        buffer = memoryview(bytearray(BUFFER_SIZE))
        while count := source.readinto(buffer):
            self._ingest.write(buffer[:count])

    def finish(self, digest: Digest) -> None:
        """Raises IntegrityError, HostRefused."""
        self._ingest.finish(digest)

    def close(self) -> None:
        self._ingest.close()


class Uploads:
    """All sessions of one server; they end with it, and their files with them. Thread-safe."""

    def __init__(self, blobs: BlobFolder, clock: Callable[[], float] = time.monotonic) -> None:
        self._blobs = blobs
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, Upload] = {}
        self._room = at_most(_SESSIONS_LIMIT, share=0.25)

    def open(self, repository: str, algorithm: str = DEFAULT_ALGORITHM) -> Upload:
        """Raises BusyError, HostRefused."""
        with self._lock:
            if len(self._open) >= self._room:
                eldest = min(self._open.values(), key=lambda upload: upload.touched)
                if self._clock() - eldest.touched < _IDLE_S or not self._drop_idle(eldest):
                    raise BusyError
            upload = Upload(repository, Ingest(self._blobs, algorithm), self._clock())
            self._open[upload.id] = upload
            return upload

    def find(self, repository: str, session: str) -> Upload:
        """Raises NotFound."""
        with self._lock:
            upload = self._open.get(session)
            if upload is None or upload.repository != repository:
                raise NotFound("no such upload; it may have expired")
            upload.touched = self._clock()
            return upload

    @contextlib.contextmanager
    def writing(self, upload: Upload) -> Iterator[None]:
        """Bracket for a request that adds to `upload`; a failure on our side ends the session.

        Raises:
            BusyError: another request does so.
            NotFound: one that did has ended it.
        """
        if not upload.turn.acquire(timeout=_TURN_S):
            raise BusyError
        try:
            if upload.id not in self._open:
                raise NotFound("the upload has ended")
            yield
        except MrpackError:
            self.discard(upload)
            raise
        finally:
            upload.touched = self._clock()
            upload.turn.release()

    def finish(self, upload: Upload, digest: Digest) -> None:
        """Make the blob visible and end the session; inside of `writing`. As `Upload.finish`."""
        upload.finish(digest)
        self.discard(upload)

    def cancel(self, upload: Upload) -> None:
        """Raises BusyError, NotFound."""
        with self.writing(upload):
            self.discard(upload)

    def expire(self) -> None:
        """Called now and then."""
        limit = self._clock() - _EXPIRY_S
        with self._lock:
            for upload in list(self._open.values()):
                if upload.touched < limit:
                    self._drop_idle(upload)

    def close(self) -> None:
        """When no request is running any more."""
        for upload in list(self._open.values()):
            self.discard(upload)

    def _drop_idle(self, upload: Upload) -> bool:
        """Under the lock. False when a request is writing to it."""
        if not upload.turn.acquire(blocking=False):
            return False
        self._open.pop(upload.id, None)
        upload.close()
        upload.turn.release()
        return True

    def discard(self, upload: Upload) -> None:
        """Idempotent. For whoever has the turn, or when nobody can."""
        with self._lock:
            self._open.pop(upload.id, None)
        upload.close()

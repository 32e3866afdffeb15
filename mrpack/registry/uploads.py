"""Pushing one blob: a session, one streaming PUT, and a new start when either is lost."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from mrpack.content.ports import Opener
from mrpack.digest import BUFFER_SIZE, ByteSource, Verifier
from mrpack.errors import IntegrityError, MrpackError, NotFound, from_os_error
from mrpack.oci.descriptor import Descriptor
from mrpack.registry.client import Call, RegistryClient
from mrpack.registry.dialing import Line
from mrpack.registry.reach import Reach
from mrpack.registry.retry import Transient
from mrpack.registry.transport import Response, send_bytes
from mrpack.registry.url import Url

# One call to the kernel moves at most this much, so that Ctrl-C and progress get a turn.
_SENDFILE_BLOCK: Final = 4 * 1024 * 1024
_NO_SENDFILE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})


@runtime_checkable
class FileLike(Protocol):
    """A source that is a local file of known content, read from its current position to its end."""

    def fileno(self) -> int: ...


@runtime_checkable
class Watching(Protocol):
    """A source that wants to hear of bytes that went out of its file without `readinto`."""

    def advance(self, count: int) -> None: ...


@dataclass(frozen=True, slots=True)
class UploadSession:
    """An upload that the registry has opened; `reach` is where the registry was then."""

    location: Url
    reach: Reach

    @classmethod
    def read(cls, response: Response) -> UploadSession:
        """From a 202. Raises RegistryUnavailable: no Location, or one that leads down to plain http."""
        response.drain()
        return cls(response.url.follow(response.header("Location")), response.reach)


def push_blob(
    client: RegistryClient,
    opening: Call,
    blob: Descriptor,
    open_at: Opener,
    *,
    session: UploadSession | None,
    is_there: Callable[[], bool],
) -> str | None:
    """Upload in one stream, from the first byte again when the session or the connection is lost.

    `opening` is the POST that starts a session, `session` one that was started already; `is_there` is asked
    after a failure, since what got lost may be the answer alone.
    Returns the digest that the registry says it stored, None when it says nothing.

    Raises:
        IntegrityError: the source gave other bytes, or the registry got others.
    """
    # Later: go on after the last accepted chunk. Only this loop has to know how.
    retries = client.retries()
    broken: list[MrpackError] = []
    while True:
        try:
            if session is None:
                session = UploadSession.read(client.attempt(opening))
            return _finish(client, opening, session, blob, open_at, broken)
        except Transient as failure:
            if failure in broken:
                # The source has tried again by itself; pushing everything once more would multiply that.
                raise
            session = None
            retries.wait(failure)
            if is_there():
                return str(blob.digest)


def _finish(
    client: RegistryClient,
    opening: Call,
    session: UploadSession,
    blob: Descriptor,
    open_at: Opener,
    broken: list[MrpackError],
) -> str | None:
    """`broken` is told of the source's own failures."""
    source = open_at(0)
    try:
        response = client.attempt(
            Call(
                doing=opening.doing,
                method="PUT",
                path=session.location.with_query("digest", str(blob.digest)),
                repository=opening.repository,
                scopes=opening.scopes,
                headers={"Content-Type": "application/octet-stream"},
                body=SourceBody(source, blob, broken),
                success=frozenset({201, 416}),
                patience_s=opening.patience_s,
                nearest=session.reach,
            )
        )
    except NotFound as error:
        if error in broken:
            raise
        raise Transient(f"{error.message} (the upload was lost)") from error
    finally:
        source.close()
    response.drain()
    if response.status == 416:
        raise Transient(f"{opening.doing}: the registry lost count of the upload")
    return response.header("Docker-Content-Digest")


class SourceBody:
    """A request's body out of a ByteSource.

    A file is trusted to hold what its descriptor says, and goes through the kernel where it can. Any other
    source is verified on the way: its last block leaves only when all of it was right, so the registry never
    has a whole wrong blob.
    """

    def __init__(self, source: ByteSource, blob: Descriptor, broken: list[MrpackError]) -> None:
        self._source = source
        self._broken = broken
        self._blob = blob
        self.size = blob.size

    def send(self, line: Line) -> None:
        """Raises OSError of the connection alone; what the source does wrong is a MrpackError."""
        if not isinstance(self._source, FileLike):
            self._send_verified(line.sock)
            return
        handle = self._source.fileno()
        self._check_size(handle)
        if isinstance(line.sock, ssl.SSLSocket) or not self._send_by_kernel(line.sock, handle):
            self._send_read(line.sock)

    def _send_verified(self, sock: socket.socket) -> None:
        verifier = Verifier(self._blob.digest, self._blob.size)
        buffer = memoryview(bytearray(BUFFER_SIZE))
        while count := self._read(buffer):
            verifier.update(buffer[:count])
            if verifier.count == self.size:
                break
            send_bytes(sock, buffer[:count])
        beyond = memoryview(bytearray(1))
        verifier.update(beyond[: self._read(beyond)])
        verifier.finish()
        send_bytes(sock, buffer[:count])

    def _send_read(self, sock: socket.socket) -> None:
        buffer = memoryview(bytearray(BUFFER_SIZE))
        rest = self.size
        while rest:
            count = self._read(buffer[:rest])
            if not count:
                raise self._short(self.size - rest)
            send_bytes(sock, buffer[:count])
            rest -= count

    def _send_by_kernel(self, sock: socket.socket, handle: int) -> bool:
        """False when this file's file system cannot, before anything was sent."""
        position = os.lseek(handle, 0, os.SEEK_CUR)
        end = position + self.size
        silence_s = sock.gettimeout()
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        sent = 0
        while position < end:
            try:
                sent = os.sendfile(sock.fileno(), handle, position, min(_SENDFILE_BLOCK, end - position))
            except BlockingIOError:
                if not poll.poll(None if silence_s is None else silence_s * 1000):
                    raise TimeoutError("the registry does not take more bytes") from None
                continue
            except (ConnectionError, TimeoutError):
                raise
            except OSError as error:
                if error.errno in _NO_SENDFILE and not sent:
                    return False
                raise from_os_error(error, f"read blob {self._blob.digest.short}") from error
            if not sent:
                raise self._short(self.size - (end - position))
            position += sent
            if isinstance(self._source, Watching):
                self._source.advance(sent)
        return True

    def _read(self, buffer: memoryview) -> int:
        try:
            return self._source.readinto(buffer)
        except MrpackError as error:
            self._broken.append(error)
            raise
        except OSError as error:
            raise from_os_error(error, f"read blob {self._blob.digest.short}") from error

    def _check_size(self, handle: int) -> None:
        size = os.fstat(handle).st_size - os.lseek(handle, 0, os.SEEK_CUR)
        if size != self.size:
            raise self._short(size)

    def _short(self, count: int) -> IntegrityError:
        return IntegrityError(
            f"blob {self._blob.digest.short}: the source has {count} bytes instead of {self.size}",
            expected=str(self.size),
            actual=str(count),
        )

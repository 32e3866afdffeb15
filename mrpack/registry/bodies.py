"""What an upload carries: a part of a blob, out of a file by the kernel, or verified on the way."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
from typing import Final, Protocol, runtime_checkable

from mrpack.digest import BUFFER_SIZE, ByteSource, Verifier
from mrpack.errors import IntegrityError, MrpackError, from_os_error
from mrpack.oci.descriptor import Descriptor
from mrpack.registry.dialing import Line
from mrpack.registry.transport import send_bytes

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


class SourceBody:
    """A request's body out of a ByteSource: bytes `start` to `stop` of a blob.

    A file is trusted to hold what its descriptor says, and goes through the kernel where it can. Any other
    source is verified on the way: the blob's last block leaves only when all of it was right, so the registry
    never has a whole wrong blob.
    """

    def __init__(
        self,
        source: ByteSource,
        blob: Descriptor,
        part: tuple[int, int],
        verifier: Verifier,
        broken: list[MrpackError],
    ) -> None:
        """A file is at byte `start`; another source where `verifier` stands, which is not after it.

        `broken` is told of the source's own failures.
        """
        self._source = source
        self._broken = broken
        self._blob = blob
        self._start, self._stop = part
        self._verifier = verifier
        self.size = self._stop - self._start

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
        verifier = self._verifier
        buffer = memoryview(bytearray(BUFFER_SIZE))
        block = buffer[:0]
        while verifier.count < self._stop:
            send_bytes(sock, block)
            before = verifier.count
            count = self._read(buffer[: self._stop - before])
            if not count:
                break
            verifier.update(buffer[:count])
            block = buffer[max(0, min(count, self._start - before)) : count]
        if self._stop == self._blob.size or verifier.count < self._stop:
            beyond = memoryview(bytearray(1))
            verifier.update(beyond[: self._read(beyond)])
            verifier.finish()
        send_bytes(sock, block)

    def _send_read(self, sock: socket.socket) -> None:
        buffer = memoryview(bytearray(BUFFER_SIZE))
        rest = self.size
        while rest:
            count = self._read(buffer[:rest])
            if not count:
                raise self._short(self._stop - rest)
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
                raise self._short(self._stop - (end - position))
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
        size = os.fstat(handle).st_size
        position = os.lseek(handle, 0, os.SEEK_CUR)
        if size - position != self._blob.size - self._start:
            raise self._short(size)

    def _short(self, count: int) -> IntegrityError:
        return IntegrityError(
            f"blob {self._blob.digest.short}: the source has {count} bytes instead of {self._blob.size}",
            expected=str(self._blob.size),
            actual=str(count),
        )

"""One client's connection: heads are gathered without waiting, bodies and answers move with a stall limit."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from email.utils import formatdate
from typing import Final

from mrpack.digest import BUFFER_SIZE
from mrpack.distribution.message import (
    HEAD_LIMIT,
    BadRequestError,
    FileSlice,
    Request,
    Response,
    render_head,
)

_HEAD_END: Final = b"\r\n\r\n"
_TLS_HANDSHAKE: Final = b"\x16"
_CHUNK_LINE_LIMIT: Final = 1024
_TRAILERS_LIMIT: Final = 100
# One call to the kernel moves at most this much; other threads run meanwhile.
_SENDFILE_BLOCK: Final = 16 * 1024 * 1024
_NO_SENDFILE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOVERFLOW})
# What a client may still send after it was answered, so that it reads the answer and not a reset: over a slow
# line too, and with a pause.
_LINGER_BYTES: Final = 16 * 1024 * 1024
_LINGER_S: Final = 30.0
_LINGER_PAUSE_S: Final = 5.0


class DisconnectedError(Exception):
    """The client went away, or stopped sending or reading for longer than the stall limit."""


class Connection:
    """Belongs to the listener while it waits for a head, and to one worker while a request is answered."""

    def __init__(self, sock: socket.socket, peer: str, stall_s: float) -> None:
        self.sock = sock
        self.peer = peer
        self._stall_s = stall_s
        self._buffer = bytearray()
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def wait(self) -> None:
        """From now on the listener's: nothing blocks."""
        self.sock.setblocking(False)

    def work(self) -> None:
        """From now on a worker's: calls block, up to the stall limit."""
        self.sock.settimeout(self._stall_s)

    # Heads.

    def gather(self) -> None:
        """Take in what has arrived. Raises DisconnectedError."""
        try:
            chunk = self.sock.recv(HEAD_LIMIT)
        except BlockingIOError:
            return
        except OSError as error:
            raise DisconnectedError from error
        if not chunk:
            raise DisconnectedError
        self._buffer += chunk

    def take_head(self) -> bytes | None:
        """A whole head, without its empty line, if there is one.

        Raises BadRequestError: too long, or TLS.
        """
        # RFC 9112, 2.2: an empty line before a request is passed over.
        while self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]
        if self._buffer[:1] == _TLS_HANDSHAKE:
            # Clients try this first, and fall back to plain HTTP as soon as they are refused.
            raise BadRequestError(400, "this server speaks plain HTTP")
        end = self._buffer.find(_HEAD_END, 0, HEAD_LIMIT)
        if end < 0:
            if len(self._buffer) >= HEAD_LIMIT:
                raise BadRequestError(431, f"more than {HEAD_LIMIT} bytes of headers")
            return None
        head = bytes(self._buffer[:end])
        del self._buffer[: end + len(_HEAD_END)]
        return head

    @property
    def has_begun(self) -> bool:
        """Whether part of a head is here."""
        return bool(self._buffer)

    # Bodies.

    def receive_into(self, target: memoryview) -> int:
        """At least one byte. Raises DisconnectedError."""
        if self._buffer:
            count = min(len(target), len(self._buffer))
            target[:count] = self._buffer[:count]
            del self._buffer[:count]
            return count
        try:
            count = self.sock.recv_into(target)
        except OSError as error:
            raise DisconnectedError from error
        if not count:
            raise DisconnectedError
        return count

    def receive_line(self) -> bytes:
        """A line of the chunked encoding, without its end."""
        while (end := self._buffer.find(b"\r\n", 0, _CHUNK_LINE_LIMIT)) < 0:
            if len(self._buffer) >= _CHUNK_LINE_LIMIT:
                raise BadRequestError(400, "a malformed chunk")
            try:
                chunk = self.sock.recv(4096)
            except OSError as error:
                raise DisconnectedError from error
            if not chunk:
                raise DisconnectedError
            self._buffer += chunk
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    # Answers.

    def send(self, content: bytes) -> None:
        try:
            self.sock.sendall(content)
        except OSError as error:
            raise DisconnectedError from error

    def respond(self, response: Response, *, head_only: bool, close: bool) -> None:
        """Send `response`; its file is left to the caller."""
        head = render_head(response, date=formatdate(usegmt=True), close=close)
        if head_only:
            self.send(head)
        elif isinstance(response.body, FileSlice):
            self.send(head)
            self._send_file(response.body)
        else:
            self.send(head + response.body)

    def _send_file(self, part: FileSlice) -> None:
        poll = select.poll()
        poll.register(self.sock, select.POLLOUT)
        position, end = part.offset, part.offset + part.size
        handle = part.source.fileno()
        while position < end:
            try:
                sent = os.sendfile(self.sock.fileno(), handle, position, min(_SENDFILE_BLOCK, end - position))
            except BlockingIOError:
                if not poll.poll(self._stall_s * 1000):
                    raise DisconnectedError from None
                continue
            except OSError as error:
                if error.errno not in _NO_SENDFILE:
                    raise DisconnectedError from error
                chunk = os.pread(handle, min(BUFFER_SIZE, end - position), position)
                self.send(chunk)
                sent = len(chunk)
            if not sent:
                raise DisconnectedError  # the file became shorter: the client must notice
            position += sent

    def abort(self) -> None:
        """End what another thread does with this connection."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Idempotent."""
        self.abort()
        self.sock.close()

    def reset(self) -> None:
        """Close, and let the kernel drop what the client does not take."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close_after_reading(self) -> None:
        """Close, after the client had a chance to read our answer while it still sends."""
        deadline = time.monotonic() + _LINGER_S
        left = _LINGER_BYTES
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
            while left > 0 and (wait_s := deadline - time.monotonic()) > 0:
                self.sock.settimeout(min(wait_s, _LINGER_PAUSE_S))
                count = len(self.sock.recv(BUFFER_SIZE))
                if not count:
                    break
                left -= count
        self.close()


class Body:
    """The body of one request as a ByteSource; who waits for `100 Continue` gets it at the first read."""

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._chunked = request.length is None
        self._left = request.length or 0
        self._ended = request.length == 0
        self._continue = request.headers.get("expect", "").lower() == "100-continue"

    @property
    def ended(self) -> bool:
        """Whether all of it was read."""
        return self._ended

    def readinto(self, buffer: memoryview, /) -> int:
        """0 at the end.

        Raises:
            DisconnectedError: the client is gone; what was read so far is good.
            BadRequestError: chunks that are not well-formed.
        """
        if self._ended:
            return 0
        if self._continue:
            self._continue = False
            self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._chunked and not self._left and not self._begin_chunk():
            return 0
        count = self._connection.receive_into(buffer[: self._left])
        self._left -= count
        if not self._left:
            if self._chunked:
                if self._connection.receive_line():
                    raise BadRequestError(400, "a malformed chunk")
            else:
                self._ended = True
        return count

    def _begin_chunk(self) -> bool:
        """False at the end; trailers are read and dropped."""
        size, _, _ = self._connection.receive_line().partition(b";")
        size = size.strip(b" \t")
        if not 0 < len(size) <= 15 or size.strip(b"0123456789abcdefABCDEF"):
            raise BadRequestError(400, "a malformed chunk")
        self._left = int(size, 16)
        if self._left:
            return True
        for _ in range(_TRAILERS_LIMIT):
            if not self._connection.receive_line():
                self._ended = True
                return False
        raise BadRequestError(431, "too many trailers")

    def close(self) -> None:
        """What was not read is the connection's business."""

    def read_all(self, limit: int) -> bytes:
        """Raises BadRequestError 413 when there are more than `limit` bytes, before it reads many of them."""
        if not self._chunked and self._left > limit:
            raise BadRequestError(413, f"more than {limit} bytes")
        content = bytearray()
        buffer = memoryview(bytearray(min(BUFFER_SIZE, limit + 1)))
        while count := self.readinto(buffer):
            content += buffer[:count]
            if len(content) > limit:
                raise BadRequestError(413, f"more than {limit} bytes")
        return bytes(content)

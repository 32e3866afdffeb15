"""Bounded reading of one HTTP answer: silence, trickle and endless header lines end in an error."""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from http.client import HTTPException
from typing import Final

from mrpack.registry.decrypting import Decrypting

# Status line, headers, chunk lines and trailers together may be so much longer than the body. Real registries
# send under 4 KiB of headers, and chunks of kilobytes.
FRAMING_LIMIT: Final = 64 * 1024
# Below this rate, measured over the time-out, a transfer counts as stalled.
LEAST_RATE: Final = 128  # bytes a second

_READ_AHEAD: Final = 16 * 1024


class FramingError(HTTPException):
    """The answer's framing went past a limit."""


class Wire:
    """The receiving side of a socket, with a limit on silence and on trickling.

    Only time spent waiting counts: a reader that is busy elsewhere does not make the sender slow.
    """

    def __init__(self, sock: socket.socket, patience_s: float) -> None:
        self._sock = sock
        self._waited_s = 0.0
        self._count = 0
        self._framing: Framing | None = None
        self._decrypting = Decrypting(sock) if isinstance(sock, ssl.SSLSocket) else None
        self.be_patient(patience_s)

    def be_patient(self, patience_s: float) -> None:
        """Longest silence from now on, for sending too."""
        self._patience_s = patience_s
        self._sock.settimeout(patience_s)

    def receive(self, buffer: memoryview) -> int:
        """What has come, at least one byte; 0 at the end. Raises TimeoutError."""
        started = time.monotonic()
        if self._decrypting is None:
            return self._account(self._sock.recv_into(buffer), started)
        return self._account(self._decrypting.receive(buffer, self._patience_s), started)

    def splice(self, pipe: int, limit: int) -> int:
        """As `receive`, into a pipe with room for `limit` bytes."""
        started = time.monotonic()
        while True:
            try:
                return self._account(os.splice(self._sock.fileno(), pipe, limit), started)
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._sock, select.POLLIN)
                if not poll.poll(self._patience_s * 1000):
                    raise TimeoutError("timed out") from None

    def _account(self, count: int, started: float) -> int:
        self._waited_s += time.monotonic() - started
        self._count += count
        if self._waited_s > self._patience_s:
            if self._count < LEAST_RATE * self._patience_s:
                raise TimeoutError(f"only {self._count} bytes in {self._waited_s:.0f} s")
            self._waited_s, self._count = 0.0, 0
        return count

    def makefile(self, _mode: str) -> Framing:
        """What `http.client.HTTPResponse` asks its socket for; the same each time."""
        if self._framing is None:
            self._framing = Framing(self)
        return self._framing


class Framing:
    """The file that `http.client.HTTPResponse` reads from.

    In place of `io.BufferedReader`, which loses what it has when the connection breaks in the middle of
    filling a large buffer: here that comes first, and the failure with the next call.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._ahead = b""
        self._lines = 0
        self._body = 0
        self._failure: OSError | None = None

    def readline(self, limit: int) -> bytes:
        while (end := self._ahead.find(b"\n", 0, limit) + 1) == 0 and len(self._ahead) < limit:
            if not self._read_ahead():
                break
        line = self._take(end or limit)
        self._lines += len(line)
        if self._lines > FRAMING_LIMIT + self._body:
            raise FramingError(f"more than {FRAMING_LIMIT} bytes of headers")
        return line

    def read(self, size: int) -> bytes:
        """For the line breaks between chunks."""
        while len(self._ahead) < size and self._read_ahead():
            pass
        return self._take(size)

    def readinto(self, buffer: memoryview) -> int:
        """Fills the buffer unless the answer ends or breaks before."""
        if self._failure is not None:
            raise self._failure
        ahead = self._take(len(buffer))
        count = len(ahead)
        buffer[:count] = ahead
        while count < len(buffer):
            try:
                received = self._wire.receive(buffer[count:])
            except OSError as error:
                if not count:
                    raise
                self._failure = error
                break
            if not received:
                break
            count += received
        self._body += count
        return count

    def splice(self, pipe: int, limit: int) -> int:
        """As one `receive`, into an empty pipe. Only for a body that is nothing but its bytes."""
        if self._failure is not None:
            raise self._failure
        if self._ahead:
            count = os.write(pipe, self._ahead[:limit])
            self._ahead = self._ahead[count:]
        else:
            count = self._wire.splice(pipe, limit)
        self._body += count
        return count

    def flush(self) -> None:
        """HTTPResponse asks for it when it is closed."""

    def close(self) -> None:
        self._ahead = b""

    def _read_ahead(self) -> bool:
        block = bytearray(_READ_AHEAD)
        count = self._wire.receive(memoryview(block))
        self._ahead += block[:count]
        return count > 0

    def _take(self, size: int) -> bytes:
        taken, self._ahead = self._ahead[:size], self._ahead[size:]
        return taken

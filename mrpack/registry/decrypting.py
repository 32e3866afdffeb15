"""What has come over TLS, record after record, by one thread of this process at a time."""

from __future__ import annotations

import select
import ssl
import threading
from typing import Final

# A record is 16 KiB at most, and whoever reads one lets go of the interpreter and asks for it again. Threads
# that all do so wait for each other at every record; so they take turns of many (docs/benchmarks.md).
_TURN: Final = threading.Lock()


class Decrypting:
    """The receiving side of one connection. Not thread-safe; sending is for the socket itself."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self._failure: OSError | None = None

    def receive(self, buffer: memoryview, patience_s: float) -> int:
        """As much as is here, at least one byte; 0 at the end. Raises OSError, TimeoutError.

        A failure after some bytes comes with the next call.
        """
        if self._failure is not None:
            raise self._failure
        while True:
            count, awaited = self._take(buffer, patience_s)
            if count or not awaited:
                return count
            poll = select.poll()
            poll.register(self._sock, awaited)
            if not poll.poll(patience_s * 1000):
                raise TimeoutError("timed out")

    def _take(self, buffer: memoryview, patience_s: float) -> tuple[int, int]:
        """Bytes, and the event to wait for when there are none; neither at the end."""
        count = 0
        with _TURN:
            self._sock.settimeout(0)
            try:
                while count < len(buffer) and (taken := self._sock.recv_into(buffer[count:])):
                    count += taken
            except ssl.SSLWantReadError:
                return count, select.POLLIN
            except ssl.SSLWantWriteError:
                return count, select.POLLOUT
            except OSError as error:
                self._failure = error
                if not count:
                    raise
            finally:
                self._sock.settimeout(patience_s)
        return count, 0

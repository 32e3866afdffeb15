"""Bytes from a socket into a file without a copy in this process: splice(2), where the system has it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import ssl
from typing import Final

from mrpack.content.pouring import write_at

# As much as the system lets anybody have (pipe(7), pipe-max-size). What is in the pipe is lost with the
# process: no more than this.
PIPE_SIZE: Final = 1024 * 1024
_NO_SPLICE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


def has_splice(sock: socket.socket) -> bool:
    """Not under TLS, which this process has to see."""
    return hasattr(os, "splice") and not isinstance(sock, ssl.SSLSocket)


class KernelPipe:
    """Empty between two calls of `flush`. Not thread-safe. Close it."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._out, self.entry = os.pipe()
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self.entry, fcntl.F_SETPIPE_SZ, PIPE_SIZE)

    def flush(self, handle: int, position: int, count: int) -> None:
        """Put the `count` bytes that are in the pipe at `position` of a file. Raises OSError of the file."""
        end = position + count
        while position < end:
            try:
                position += os.splice(self._out, handle, end - position, offset_dst=position)
            except OSError as error:
                if error.errno not in _NO_SPLICE:
                    raise
                write_at(handle, memoryview(os.read(self._out, end - position)), position)
                position = end

    def close(self) -> None:
        """Idempotent."""
        for handle in (self._out, self.entry):
            if handle >= 0:
                os.close(handle)
        self._out = self.entry = -1

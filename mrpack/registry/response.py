"""The answer to one request: status, headers, and a body that is read once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from typing import Final

from mrpack.digest import BUFFER_SIZE
from mrpack.errors import RegistryUnavailable
from mrpack.registry.dialing import Line
from mrpack.registry.framing import Framing
from mrpack.registry.kernel_pipe import PIPE_SIZE, KernelPipe, has_splice
from mrpack.registry.printable import printable
from mrpack.registry.retry import Transient
from mrpack.registry.url import Url

# Reading so much on is cheaper than another connection.
_DRAIN_LIMIT: Final = 16 * 1024


class Response:
    """Status, headers and a body that is read once. Close it; a body read to its end frees the connection.

    `length`: bytes of the body as announced, None when they are not. `framed`: the end of the body is marked,
    so that an end without an error is the end.
    """

    def __init__(
        self, raw: HTTPResponse, framing: Framing, url: Url, line: Line, keep: Callable[[], None]
    ) -> None:
        """`raw` reads from `framing`; `keep` puts `line` back for the next request."""
        self._raw = raw
        self._framing = framing
        self._line: Line | None = line
        self._keep = keep
        self.url = url
        self.reach = line.reach
        self.status = raw.status
        announced = raw.headers.get("content-length")
        self.length = None if announced is None else int(announced)
        self.framed = bool(raw.chunked) or raw.length is not None
        if raw.isclosed() or raw.length == 0:
            self._let_go(reusable=not raw.will_close)

    def header(self, name: str) -> str | None:
        return self._raw.headers.get(name)

    def all_headers(self, name: str) -> list[str]:
        return self._raw.headers.get_all(name) or []

    def readinto(self, buffer: memoryview, /) -> int:
        """Raises Transient when the connection breaks or stalls before the end."""
        try:
            count = self._raw.readinto(buffer)
        except (OSError, HTTPException) as error:
            self.close()
            raise Transient(f"{self.url.origin}: the answer broke off: {describe(error)}") from error
        if self._raw.isclosed():
            missing = self._raw.length
            self._let_go(reusable=not missing and not self._raw.will_close)
            if missing:
                raise Transient(f"{self.url.origin}: the answer broke off {missing} bytes before its end")
        return count

    @property
    def can_splice(self) -> bool:
        """Whether what the socket gives is the body, byte for byte."""
        raw, line = self._raw, self._line
        return line is not None and raw.length is not None and not raw.chunked and has_splice(line.sock)

    def pour(self, pipe: KernelPipe, handle: int, position: int, limit: int) -> int:
        """As `readinto`, into a file, if `can_splice`. Raises OSError of the file too."""
        left = self._raw.length or 0
        try:
            count = self._framing.splice(pipe.entry, min(limit, left, PIPE_SIZE))
        except OSError as error:
            self.close()
            raise Transient(f"{self.url.origin}: the answer broke off: {describe(error)}") from error
        if not count:
            self.close()
            raise Transient(f"{self.url.origin}: the answer broke off {left} bytes before its end")
        pipe.flush(handle, position, count)
        self._raw.length = left - count
        if count == left:
            self._let_go(reusable=not self._raw.will_close)
        return count

    def read(self, limit: int) -> bytes:
        """The whole body; raises RegistryUnavailable when it has more than `limit` bytes. Closes."""
        try:
            content = bytearray()
            buffer = memoryview(bytearray(min(BUFFER_SIZE, limit + 1)))
            while count := self.readinto(buffer):
                content += buffer[:count]
                if len(content) > limit:
                    raise RegistryUnavailable(f"{self.url.shown}: an answer of more than {limit} bytes")
            return bytes(content)
        finally:
            self.close()

    def drain(self) -> None:
        """Close, and keep the connection when little of the body is left."""
        with contextlib.suppress(RegistryUnavailable):
            self.read(_DRAIN_LIMIT)

    def close(self) -> None:
        self._let_go(reusable=False)

    def _let_go(self, *, reusable: bool) -> None:
        line, self._line = self._line, None
        if line is None:
            return
        self._raw.close()
        if reusable:
            self._keep()
        else:
            line.sock.close()


def describe(error: Exception) -> str:
    """Without the number of a failed system call. An HTTPException quotes what the server sent."""
    said = error.strerror if isinstance(error, OSError) else None
    return printable(said or str(error)) or type(error).__name__

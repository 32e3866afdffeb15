"""TLS on the listening side, with a certificate that the user gives."""

from __future__ import annotations

import asyncio
import logging
import ssl
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

from mrpack.errors import HostRefused, UsageError, from_os_error

_LOG: Final = logging.getLogger(__name__)
_READ_SIZE: Final = 256 * 1024


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For PEM files; `certificate` may hold the chain, too. TLS 1.2 and later, HTTP/1.1 alone.

    Raises:
        UsageError: everybody may read the key, or the files are none of these or do not belong together.
        NotFound, HostRefused: a file is not there, or may not be read.
    """
    try:
        if key.stat().st_mode & stat.S_IRWXO:
            raise UsageError(f"others may read {key}", hint=f"chmod 600 {key}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # what is written would have to wait for it
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise UsageError(
            f"{certificate} and {key} are no certificate with its key: {error.reason or error}",
            hint="both are PEM files; the key has no password",
        ) from error
    except OSError as error:
        raise from_os_error(error, "read the certificate") from error
    return context


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise HostRefused("the key of the certificate has a password", hint="give one without")


class TlsTransport(asyncio.Protocol, asyncio.Transport):
    """Between a socket, whose protocol it is, and `inner`, whose transport it is.

    asyncio has such a thing, too; but its connections are made when their handshakes are over, so that nobody
    counts or cuts them before, and what fills up, drains and ends there are its own buffers. Here `inner` is
    made with the socket, and all it is told of and does to it is of the socket. What it writes before the
    handshake is over is lost.
    """

    def __init__(self, context: ssl.SSLContext, inner: asyncio.Protocol) -> None:
        super().__init__()
        self._inner = inner
        self._received = ssl.MemoryBIO()
        self._to_send = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_side=True)
        self._socket: asyncio.Transport
        self._is_ready = False
        # Nothing more is said, and whatever still arrives is thrown away.
        self._is_ended = False

    # ---- asyncio.Protocol, for the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast("asyncio.Transport", transport)
        self._inner.connection_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_ended:
            return
        self._received.write(data)
        parts: list[bytes] = []
        has_left = False
        try:
            if not self._is_ready:
                self._tls.do_handshake()
                self._is_ready = True
            while part := self._tls.read(_READ_SIZE):
                parts.append(part)
            has_left = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            _LOG.debug("not TLS: %s", error)
            self._is_ended = has_left = True
        self._flush()  # of the handshake, or an alert
        if parts:
            self._inner.data_received(b"".join(parts))
        if has_left:
            self.eof_received()
            self.close()

    def eof_received(self) -> None:
        self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    # ---- asyncio.Transport, for `inner`

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_ready and not self._is_ended:
            self._tls.write(data)
            self._flush()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        self._end()
        self._socket.close()

    def write_eof(self) -> None:
        self._end()
        self._socket.write_eof()

    def can_write_eof(self) -> bool:
        return self._socket.can_write_eof()

    def abort(self) -> None:
        self._socket.abort()

    def is_closing(self) -> bool:
        return self._socket.is_closing()

    def is_reading(self) -> bool:
        return self._socket.is_reading()

    def pause_reading(self) -> None:
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        self._socket.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._socket.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._socket.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._socket.get_extra_info(name, default)

    def _end(self) -> None:
        """Says that this was all; what the client says to that is not waited for."""
        if self._is_ready and not self._is_ended:
            self._is_ended = True
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()

    def _flush(self) -> None:
        if self._to_send.pending and not self._socket.is_closing():
            self._socket.write(self._to_send.read())

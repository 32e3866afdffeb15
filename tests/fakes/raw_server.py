"""A server that answers with exactly the bytes of a script, for what no HTTP library would send."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Self

Script = Callable[[socket.socket], None]


class RawServer:
    """Reads a request's head, runs the script on the connection, closes it. One thread a connection."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None, *, port: int = 0) -> None:
        self._script = script
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", port))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.heads: list[bytes] = []
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        workers = []
        while not self.closing.is_set():
            connection, _ = self._socket.accept()
            worker = threading.Thread(target=self._serve, args=(connection,))
            worker.start()
            workers.append(worker)
        for worker in workers:
            worker.join()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.ExitStack() as closing, contextlib.suppress(OSError):
            closing.enter_context(connection)
            # Who hangs up on unread bytes takes back what he has not sent yet.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection = closing.enter_context(self._tls.wrap_socket(connection, server_side=True))
            head = b""
            while b"\r\n\r\n" not in head and not self.closing.is_set():
                block = connection.recv(65_536)
                if not block:
                    return
                head += block
            self.heads.append(head)
            self._script(connection)

    def close(self) -> None:
        self.closing.set()
        host, port = self._socket.getsockname()
        socket.create_connection((host, port)).close()
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def send(content: bytes) -> Script:
    return lambda connection: connection.sendall(content)


def send_for_ever(content: bytes, start: bytes = b"") -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(content)

    return script

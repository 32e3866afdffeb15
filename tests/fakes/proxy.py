"""A forward proxy that records what it is shown: CONNECT tunnels, and plain requests passed on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class ForwardProxy:
    """Every name leads to 127.0.0.1, on the port asked for. `heads` are request lines and headers."""

    def __init__(self, status: int = 200) -> None:
        heads: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                heads.append(f"{self.requestline}\n{self.headers}")
                self.send_response(status)
                self.end_headers()
                if status == 200:
                    _join(self.connection, int(self.path.rpartition(":")[2]))
                self.close_connection = True

            def do_GET(self) -> None:
                heads.append(f"{self.requestline}\n{self.headers}")
                rest = self.path.removeprefix("http://")
                authority, _, path = rest.partition("/")
                with socket.create_connection(("127.0.0.1", int(authority.rpartition(":")[2]))) as upstream:
                    head = f"GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
                    upstream.sendall(head.encode())
                    while block := upstream.recv(65_536):
                        self.wfile.write(block)
                self.close_connection = True

            def log_message(self, *_args: object) -> None:
                pass

        self.heads = heads
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _join(client: socket.socket, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as upstream:
        back = threading.Thread(target=_pump, args=(upstream.recv, client))
        back.start()
        _pump(client.recv, upstream)
        back.join()


def _pump(receive: Callable[[int], bytes], sink: socket.socket) -> None:
    try:
        while block := receive(65_536):
            sink.sendall(block)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return

"""A proxy that looks at nothing: what the machine itself takes for one process more on the way.

    python benchmarks/fast_bytes.py SOCKET

Every connection gets one of its own to the engine; bytes go through as they come. Prints its port.
"""

from __future__ import annotations

import asyncio
import json
import sys

from fast_loop import run


class End(asyncio.Protocol):
    """One end of a pair; what arrives leaves at the other, which holds it back while it cannot."""

    def __init__(self, other=None):
        self.other = other

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.other.transport.write(data)

    def pause_writing(self):
        self.other.transport.pause_reading()

    def resume_writing(self):
        self.other.transport.resume_reading()

    def connection_lost(self, _):
        if self.other is not None:
            self.other.transport.close()


class Client(End):
    def __init__(self, path):
        super().__init__()
        self.path = path
        self.early = b""

    def connection_made(self, transport):
        super().connection_made(transport)
        self.connecting = asyncio.ensure_future(self.connect())

    def data_received(self, data):
        if self.other is None:
            self.early += data
        else:
            super().data_received(data)

    async def connect(self):
        loop = asyncio.get_running_loop()
        _, self.other = await loop.create_unix_connection(lambda: End(self), self.path)
        self.other.transport.write(self.early)


async def main(path):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(path), "127.0.0.1", 0, backlog=2048)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    run(main(sys.argv[1]))

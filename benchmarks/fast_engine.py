"""An engine as fast as Python can be, so that what is measured is the gateway: for benchmarks/gateway.py.

    python benchmarks/fast_engine.py SOCKET

Answers every POST with a small chat completion; one that asks for a stream gets as many chunks as its field
`chunks` says, at once, or one every `pause_s` seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys

from fast_loop import run

ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "inner",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }
).encode()
CHUNK = json.dumps(
    {
        "choices": [{"finish_reason": None, "index": 0, "delta": {"content": "word "}}],
        "created": 0,
        "id": "chatcmpl-1",
        "model": "inner",
        "object": "chat.completion.chunk",
    },
    separators=(",", ":"),
).encode()


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


EVENT = chunk(b"data: " + CHUNK + b"\n\n")
END = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(ANSWER),
    ANSWER,
)
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.buffer = b""
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.task = None

    def connection_lost(self, _):
        if self.task:
            self.task.cancel()

    def pause_writing(self):
        self.may_write.clear()

    def resume_writing(self):
        self.may_write.set()

    def data_received(self, data):
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        body = json.loads(rest[:length] or b"{}")
        if head.startswith(b"GET"):
            self.transport.write(HEALTHY)
        elif body.get("stream"):
            self.task = asyncio.ensure_future(self.stream(body["chunks"], body.get("pause_s", 0)))
        else:
            self.transport.write(WHOLE)

    async def stream(self, count, pause_s):
        self.transport.write(STREAM)
        for _ in range(count):
            if not self.may_write.is_set():
                await self.may_write.wait()
            self.transport.write(EVENT)
            await asyncio.sleep(pause_s)  # also 0 s: every event is a write of its own, as of a model
        self.transport.write(END)


async def main(path):
    server = await asyncio.get_running_loop().create_unix_server(Connection, path, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    run(main(sys.argv[1]))

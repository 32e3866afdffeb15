"""Clients of a chat API with as little of their own as Python allows: for benchmarks/gateway.py.

Every one checks what it gets: a whole answer, or each chunk of a stream and its end.
"""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

MODEL = "localhost/bench:latest"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Tell me something about gateways. " * 6}]}
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@dataclass(frozen=True)
class Requests:
    """`times_s` of each request, all of them together in `wall_s`."""

    times_s: list[float]
    wall_s: float


def to_socket(path: str) -> Connect:
    return lambda: asyncio.open_unix_connection(path, limit=1 << 18)


def to_port(port: int) -> Connect:
    return lambda: asyncio.open_connection("127.0.0.1", port, limit=1 << 18)


def allow_files() -> None:
    """A thousand clients are a thousand sockets."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def request(body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def ask(connect: Connect, clients: int, each: int) -> Requests:
    """`clients` connections, each with `each` requests one after another; connecting is not timed."""
    wanted = request(CHAT)
    times_s: list[float] = []
    connections = [await connect() for _ in range(clients)]

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(each):
            begin = time.perf_counter()
            writer.write(wanted)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            times_s.append(time.perf_counter() - begin)
            if b'"Hello."' not in body:
                raise SystemExit(f"not the answer: {head + body!r}")

    begin = time.perf_counter()
    await asyncio.gather(*(one(*connection) for connection in connections))
    wall_s = time.perf_counter() - begin
    for _, writer in connections:
        writer.close()
    return Requests(times_s, wall_s)


async def stream(connect: Connect, clients: int, chunks: int, pause_s: float = 0.0) -> float:
    """`clients` streams at once; seconds until all were whole."""
    wanted = request({**CHAT, "stream": True, "chunks": chunks, "pause_s": pause_s})
    connections = [await connect() for _ in range(clients)]

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wanted)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"no stream: {head!r}")
        found = 0
        tail = b""
        while b"[DONE]" not in tail:
            piece = await reader.read(1 << 18)
            if not piece:
                raise SystemExit("a stream was cut")
            content = tail + piece
            found += content.count(b'"word "') - tail.count(b'"word "')
            tail = content[-64:]
        if found != chunks:
            raise SystemExit(f"{found} of {chunks} chunks of a stream arrived")

    begin = time.perf_counter()
    await asyncio.gather(*(one(*connection) for connection in connections))
    wall_s = time.perf_counter() - begin
    for _, writer in connections:
        writer.close()
    return wall_s

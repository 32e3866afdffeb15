"""What the gateway costs: the same requests straight to an engine and through the gateway, in one run.

    python benchmarks/gateway.py [--rounds 3] [--json FILE]

Prints a table. The engine (benchmarks/fast_engine.py) does nothing but answer, so that every difference is
the gateway's. Latency is the median over sequential requests on one connection; a stream is measured from the
request to `[DONE]`. CPU is that of the gateway's process alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

GATEWAY_PROGRAM = Path(__file__).with_name("fast_gateway.py")
MODEL = "localhost/bench:latest"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Tell me something about gateways. " * 6}]}
REQUESTS = 1000
CHUNKS = 20_000
STREAMS = 100
MANY_STREAMS = 1000


@dataclass
class Row:
    """One figure straight and through the gateway."""

    what: str
    unit: str
    direct: list[float] = field(default_factory=list)
    gateway: list[float] = field(default_factory=list)


Connect = Callable[[], socket.socket]


def request(body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def read_whole(connection: socket.socket) -> bytes:
    content = b""
    while True:
        content += connection.recv(65536)
        head, found, body = content.partition(b"\r\n\r\n")
        if found:
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            if len(body) >= length:
                return body


def latency_ms(connect: Connect) -> float:
    wanted = request(CHAT)
    times = []
    with connect() as connection:
        for _ in range(REQUESTS):
            begin = time.perf_counter()
            connection.sendall(wanted)
            read_whole(connection)
            times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1000


def stream_rate(connect: Connect, count: int = CHUNKS) -> float:
    """Chunks a second; every chunk is counted."""
    with connect() as connection:
        begin = time.perf_counter()
        connection.sendall(request({**CHAT, "stream": True, "n": count}))
        found = 0
        tail = b""
        while b"[DONE]" not in tail:
            piece = connection.recv(1 << 18)
            if not piece:
                raise SystemExit("the stream was cut")
            content = tail + piece
            found += content.count(b'"word "') - tail.count(b'"word "')
            tail = content[-64:]
        took = time.perf_counter() - begin
    if found != count:
        raise SystemExit(f"{found} of {count} chunks arrived")
    return count / took


def hold_streams(
    connect: Connect, count: int, chunks: int, pause_s: float, while_open: Callable[[], None]
) -> int:
    """Opens `count` streams at once; how many came to their proper end with every chunk."""
    whole = 0
    lock = threading.Lock()

    async def one(opened: asyncio.Semaphore) -> None:
        nonlocal whole
        reader, writer = await asyncio.open_connection(sock=connect())
        writer.write(request({**CHAT, "stream": True, "n": chunks, "pause_s": pause_s}))
        await reader.readuntil(b"\r\n\r\n")
        opened.release()
        body = await reader.readuntil(b"\r\n0\r\n\r\n")
        with lock:
            whole += body.count(b'"word "') == chunks and b"data: [DONE]" in body
        writer.close()

    async def main() -> None:
        opened = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(one(opened)) for _ in range(count)]
        for _ in range(count):
            await opened.acquire()
        await asyncio.to_thread(while_open)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    return whole


def cpu_s(pid: int) -> float:
    folder = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in folder.iterdir()) / 1e9


def rss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@contextlib.contextmanager
def running() -> Iterator[tuple[int, Connect, Connect]]:
    folder = Path(tempfile.mkdtemp(prefix="b"))
    process = subprocess.Popen(
        [sys.executable, str(GATEWAY_PROGRAM), str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        where = json.loads(process.stdout.readline())

        def direct() -> socket.socket:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(where["socket"])
            return connection

        def gateway() -> socket.socket:
            connection = socket.create_connection(("127.0.0.1", where["port"]))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection

        yield process.pid, direct, gateway
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def measure(rounds: int) -> dict[str, Any]:
    latency = Row("latency of a chat, median", "ms")
    rate = Row(f"stream of {CHUNKS} chunks", "chunks/s")
    cpu: dict[str, list[float]] = {"request_us": [], "chunk_us": []}
    with running() as (pid, direct, gateway):
        latency_ms(direct), latency_ms(gateway), stream_rate(gateway)
        for _ in range(rounds):
            latency.direct.append(latency_ms(direct))
            before = cpu_s(pid)
            latency.gateway.append(latency_ms(gateway))
            cpu["request_us"].append((cpu_s(pid) - before) / REQUESTS * 1e6)
            rate.direct.append(stream_rate(direct))
            before = cpu_s(pid)
            rate.gateway.append(stream_rate(gateway))
            cpu["chunk_us"].append((cpu_s(pid) - before) / CHUNKS * 1e6)
        idle = rss_mib(pid)
        memory: list[float] = []
        whole = hold_streams(gateway, STREAMS, 200, 0.01, lambda: memory.append(rss_mib(pid)))
        many = hold_streams(gateway, MANY_STREAMS, 20, 0.05, lambda: memory.append(rss_mib(pid)))
    median = statistics.median
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}",
        "rows": [asdict(latency), asdict(rate)],
        "added_latency_ms": median(latency.gateway) - median(latency.direct),
        "stream_rate_share": median(rate.gateway) / median(rate.direct),
        "gateway_cpu_us_per_request": median(cpu["request_us"]),
        "gateway_cpu_us_per_chunk": median(cpu["chunk_us"]),
        "rss_mib": {"idle": idle, f"{STREAMS} streams": memory[0], f"{MANY_STREAMS} streams": memory[1]},
        "whole_streams": {str(STREAMS): whole, str(MANY_STREAMS): many},
    }


def show(result: dict[str, Any]) -> None:
    print(f"{result['machine']}, {result['date']}\n")
    print(f"{'':34} {'direct':>12} {'gateway':>12}")
    for row in result["rows"]:
        direct, through = statistics.median(row["direct"]), statistics.median(row["gateway"])
        print(f"{row['what']:34} {direct:12,.3f} {through:12,.3f} {row['unit']}")
    print()
    print(f"added latency              {result['added_latency_ms']:8.3f} ms   (goal: at most 0.4)")
    print(f"rate of a stream           {result['stream_rate_share']:8.0%}      (goal: at least 85 %)")
    print(f"CPU of the gateway         {result['gateway_cpu_us_per_request']:8.0f} us a request")
    print(f"                           {result['gateway_cpu_us_per_chunk']:8.2f} us a chunk")
    for what, size in result["rss_mib"].items():
        print(
            f"memory, {what:18} {size:8.1f} MiB" + ("  (goal: at most 100)" if what == "100 streams" else "")
        )
    for count, whole in result["whole_streams"].items():
        print(f"whole streams of {count:9} {whole:8}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = measure(options.rounds)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

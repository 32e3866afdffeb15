"""A thousand connections that only want to be held: when the gateway cuts them, and what others notice.

    python benchmarks/floods.py [--connections 1000] [--only SUBSTRING]

The gateway runs with its own deadlines, in a process of its own; so do the clients of each flood. Meanwhile
one well-behaved client chats, with a connection for each question, and another sends 10 MB over a line of
1 Mbit/s, which has to arrive. Exit code 1 when a flood is held beyond its time, or a chat took too long.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from gateway import program, rss_mib
from http_load import CHAT, allow_files, request
from measure import machine

from mrpack_runtime.gateway.connections import Deadlines
from tests.fakes.certificates import Authority, make_authority

GATEWAY = Path(__file__).with_name("fast_gateway.py")
CUT_WITHIN_S = 15.0
CHAT_WITHIN_S = 0.2
PAUSE_S = 0.05
# Of new connections: all at once would be a rush, which is another matter.
PER_SECOND = 500
# Without a flood, to compare with.
QUIET_S = 5.0
# What a flood that is never cut costs at most.
PATIENCE_S = 180.0
UPLOAD_BYTES, UPLOAD_RATE = 10_000_000, 125_000
HALF_BODY = request(CHAT)[:-20]
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class Flood:
    """`start` is sent at once, then `drip` every second. To be cut `within_s` of that."""

    name: str
    start: bytes
    drip: bytes = b""
    within_s: float = CUT_WITHIN_S
    tls: bool = False


FLOODS = (
    Flood(name="not a byte", start=b""),
    Flood(name="half a header", start=HALF_BODY[:60]),
    Flood(name="half a header, a byte a second", start=HALF_BODY[:60], drip=b"x"),
    Flood(name="half a body", start=HALF_BODY),
    Flood(name="half a body, a byte a second", start=HALF_BODY[:-200], drip=b" "),
    Flood(name="half a second header", start=HEALTH + HALF_BODY[:60]),
    Flood(name="half a TLS handshake", start=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", tls=True),
    Flood(name="nothing after an answer", start=HEALTH, within_s=Deadlines().idle_s + 5),
)


@dataclass(frozen=True)
class Held:
    """Seconds until connections were cut; those that never were are missing."""

    lives_s: list[float]


def hold(flood: Flood, port: int, count: int) -> Held:
    """The clients of a flood, in a process of their own."""
    allow_files()
    return asyncio.run(_hold(flood, port, count))


async def _hold(flood: Flood, port: int, count: int) -> Held:
    lives_s: list[float] = []

    async def one(number: int) -> None:
        await asyncio.sleep(number / PER_SECOND)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        begun = time.monotonic()
        writer.write(flood.start)
        reading = asyncio.create_task(reader.read())
        try:
            while not (await asyncio.wait({reading}, timeout=1 if flood.drip else None))[0]:
                writer.write(flood.drip)
            lives_s.append(time.monotonic() - begun)
            with contextlib.suppress(ConnectionError):
                await reading
        finally:
            reading.cancel()
            writer.transport.abort()

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(one(number) for number in range(count)))
    return Held(lives_s)


def upload(port: int) -> str:
    """An honest body over a slow line: the status line of the answer."""
    return asyncio.run(_upload(port))


async def _upload(port: int) -> str:
    content = json.dumps({**CHAT, "picture": "A" * UPLOAD_BYTES}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = HALF_BODY.partition(b"Content-Length")[0]
    writer.write(head + f"Content-Length: {len(content)}\r\n\r\n".encode())
    for at in range(0, len(content), UPLOAD_RATE // 10):
        writer.write(content[at : at + UPLOAD_RATE // 10])
        await asyncio.sleep(0.1)
    line = await reader.readline()
    writer.close()
    return line.decode().strip()


async def chat_until(is_over: Callable[[], bool], port: int, tls: ssl.SSLContext | None) -> list[float]:
    """Seconds of each question, connecting included."""
    wanted = request(CHAT)
    times_s = []
    while not is_over():
        begin = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        writer.write(wanted)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"a well-behaved client was refused: {head!r}")
        times_s.append(time.monotonic() - begin)
        writer.transport.abort()
        await asyncio.sleep(PAUSE_S)
    return times_s


def row(name: str, times_s: list[float], memory: float, held: Held | None, count: int) -> str:
    ranked = sorted(time_s * 1000 for time_s in times_s)
    p95 = ranked[int(len(ranked) * 0.95)]
    lives_s = held.lives_s if held is not None else []
    cut = f"{len(lives_s):,} of {count:,} | " if held is not None else " | "
    cut += f"{min(lives_s):.1f} | {max(lives_s):.1f}" if lives_s else " | "
    return (
        f"| {name} | {cut} | {len(ranked)} | {statistics.median(ranked):.1f} | {p95:.1f}"
        f" | {ranked[-1]:.1f} | {memory:.0f} |"
    )


def faults(flood: Flood, held: Held, times_s: list[float], count: int) -> Iterator[str]:
    if len(held.lives_s) < count:
        yield f"{flood.name}: {count - len(held.lives_s)} were never cut"
    if held.lives_s and (last := max(held.lives_s)) > flood.within_s:
        yield f"{flood.name}: the last was cut after {last:.1f} s (goal: {flood.within_s:.0f})"
    if (slowest := max(times_s)) > CHAT_WITHIN_S:
        yield f"{flood.name}: a chat took {slowest * 1000:.0f} ms (goal: {CHAT_WITHIN_S * 1000:.0f})"


@contextlib.contextmanager
def gateways() -> Iterator[tuple[dict[bool, tuple[int, int]], ssl.SSLContext]]:
    """Pid and port of one without TLS and of one with, and what its clients trust."""
    with tempfile.TemporaryDirectory(prefix="b") as folder, contextlib.ExitStack() as stack:
        authority: Authority = make_authority(Path(folder))
        found = {}
        for tls in (False, True):
            own = Path(folder, "tls" if tls else "plain")
            own.mkdir()
            keys = (str(authority.certificate), str(authority.key)) if tls else ()
            authority.key.chmod(0o600)
            pid, where = stack.enter_context(program(str(GATEWAY), str(own), *keys))
            found[tls] = pid, where["port"]
        yield found, ssl.create_default_context(cafile=authority.ca_file)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--only", default="", help="floods whose name holds this; then nothing is uploaded")
    options = parser.parse_args()
    count = options.connections
    wrong: list[str] = []
    print(", ".join(f"{key} {value}" for key, value in machine().items()) + "\n")
    print("| flood | cut | first, s | last, s | chats | p50 ms | p95 ms | max ms | MiB |")
    print("|---" * 9 + "|", flush=True)
    spawn = multiprocessing.get_context("spawn")
    with gateways() as (found, trust), ProcessPoolExecutor(2, mp_context=spawn) as clients:
        pid, port = found[False]
        end = time.monotonic() + QUIET_S
        times_s = asyncio.run(chat_until(lambda: time.monotonic() > end, port, None))
        print(row("none", times_s, rss_mib(pid), None, count), flush=True)
        uploading: Future[str] | None = None if options.only else clients.submit(upload, port)
        for flood in FLOODS:
            if options.only not in flood.name:
                continue
            pid, port = found[flood.tls]
            holding = clients.submit(hold, flood, port, count)
            times_s = asyncio.run(chat_until(holding.done, port, trust if flood.tls else None))
            held = holding.result()
            print(row(flood.name, times_s, rss_mib(pid), held, count), flush=True)
            wrong += faults(flood, held, times_s, count)
        if uploading is not None:
            line = uploading.result()
            print(f"\n{UPLOAD_BYTES / 1e6:.0f} MB at {UPLOAD_RATE * 8 / 1e6:.0f} Mbit/s: {line}")
            if " 200 " not in f"{line} ":
                wrong.append("the honest upload was refused")
    print("\n" + ("\n".join(wrong) or "every goal was reached"))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

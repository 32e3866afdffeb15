"""The gateway's server with small handlers: torn, pipelined and endless requests, and how answers end."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrpack_runtime.endpoint import UnixEndpoint
from mrpack_runtime.gateway.app import run_loop
from mrpack_runtime.gateway.connections import Deadlines, GatewayServer
from mrpack_runtime.gateway.exchange import Reply, Request, Response
from tests.fakes.gateway import DEADLINE_S, Client, read_answer, read_head, request_bytes

Handler = Callable[[Request], Awaitable[Reply]]
# More than all buffers on the way hold.
FLOOD = 64 * 1024 * 1024
PIECE = b"x" * 65536


async def echo(request: Request) -> Reply:
    body = b""
    while piece := await request.body.read():
        body += piece
    return Response(headers={"X-Path": request.path}, body=body)


@asynccontextmanager
async def serving(folder: Path, answer: Handler) -> AsyncIterator[Client]:
    server = GatewayServer(answer, Deadlines(), limit=16)
    path = folder / "s"
    listener = await asyncio.get_running_loop().create_unix_server(server, str(path))
    try:
        yield Client(UnixEndpoint(path))
    finally:
        listener.close()
        await server.close(0.1)
        path.unlink(missing_ok=True)


@pytest.fixture(params=[asyncio.run, run_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """With the loop that everybody has, and the one that is taken where it is installed."""
    return request.param


def framed(number: int, body: bytes, chunk: int) -> bytes:
    """As one piece, or with `chunk` above nothing in chunks of so many bytes."""
    if not chunk:
        return request_bytes("POST", f"/{number}", body)
    chunks = [body[at : at + chunk] for at in range(0, len(body), chunk)]
    head = request_bytes("POST", f"/{number}", None, {"Transfer-Encoding": "chunked"})
    return head + b"".join(b"%x;a=b\r\n%s\r\n" % (len(part), part) for part in chunks) + b"0\r\nX: y\r\n\r\n"


BODIES = st.lists(
    st.tuples(st.binary(max_size=400) | st.integers(0, 300_000).map(bytes), st.sampled_from([0, 7, 70_000])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=BODIES, cuts=st.lists(st.floats(0, 1), max_size=12))
def test_requests_are_answered_in_order_however_they_are_torn_and_joined(short_folder, bodies, cuts):
    content = b"".join(framed(number, body, chunk) for number, (body, chunk) in enumerate(bodies))
    places = [0, *sorted(int(cut * len(content)) for cut in cuts), len(content)]

    async def send(writer: asyncio.StreamWriter) -> None:
        for begin, end in pairwise(places):
            writer.write(content[begin:end])
            await writer.drain()
            await asyncio.sleep(0)

    async def main() -> None:
        async with serving(short_folder, echo) as client:
            reader, writer = await client.connect()
            sending = asyncio.create_task(send(writer))
            for number, (body, _) in enumerate(bodies):
                answer = await read_answer(reader)
                assert (answer.status, answer.headers["x-path"], answer.body) == (200, f"/{number}", body)
            await sending
            writer.close()

    run_loop(main())


def test_an_answer_before_the_end_of_a_body_arrives_and_ends_the_connection(short_folder, run):
    """Its client still sends: closing at once would throw the answer away with what was not read."""

    async def refuse(_: Request) -> Reply:
        return Response(status=413, body=b"too much")

    async def main() -> None:
        async with serving(short_folder, refuse) as client:
            reader, writer = await client.connect()
            writer.write(request_bytes("POST", "/", PIECE * 16, {"Content-Length": str(FLOOD)}))
            answer = await read_answer(reader)
            assert (answer.status, answer.body, answer.headers["connection"]) == (413, b"too much", "close")
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read() == b""
            writer.close()

    run(main())


async def flooded(client: Client, start: bytes) -> int:
    """How many bytes a client gets rid of that never stops sending."""
    loop = asyncio.get_running_loop()
    assert isinstance(client.endpoint, UnixEndpoint)
    sent = 0
    with socket.socket(socket.AF_UNIX) as flood:
        flood.setblocking(False)
        await loop.sock_connect(flood, str(client.endpoint.path))
        await loop.sock_sendall(flood, start)
        try:
            async with asyncio.timeout(0.3) as patience:
                while sent < FLOOD:
                    await loop.sock_sendall(flood, PIECE)
                    sent += len(PIECE)
                    patience.reschedule(loop.time() + 0.3)
        except TimeoutError:
            pass
    return sent


@pytest.mark.parametrize(
    "start",
    [request_bytes("POST", "/", b"", {"Content-Length": str(2 * FLOOD)}), request_bytes("GET", "/")],
    ids=["a body that nobody reads", "requests ahead"],
)
def test_a_client_that_sends_more_than_is_wanted_has_to_wait(short_folder, run, start):
    over = asyncio.Event()

    async def wait(_: Request) -> Reply:
        await over.wait()
        return Response()

    async def main() -> None:
        async with serving(short_folder, wait) as client:
            assert await flooded(client, start) < FLOOD / 8
            over.set()

    run(main())


def test_a_client_that_does_not_read_is_not_written_to_without_end(short_folder, run):
    written = 0

    async def pour(request: Request) -> Reply:
        nonlocal written
        stream = request.stream({})
        while True:
            await stream.write(PIECE)
            written += len(PIECE)

    async def main() -> None:
        async with serving(short_folder, pour) as client:
            reader, writer = await client.connect()
            writer.transport.pause_reading()
            writer.write(request_bytes("GET", "/"))
            before = -1
            while written != before:
                before = written
                await asyncio.sleep(0.2)
            assert 0 < written < FLOOD / 8
            writer.transport.resume_reading()
            await read_head(reader)
            writer.transport.abort()

    run(main())


def test_a_bug_is_told_without_its_details_and_ends_the_connection(short_folder, run, caplog):
    async def fail(_: Request) -> Reply:
        raise RuntimeError("a secret")

    async def main() -> None:
        async with serving(short_folder, fail) as client:
            reader, writer = await client.connect()
            writer.write(request_bytes("GET", "/") * 2)
            answer = await read_answer(reader)
            assert answer.status == 500
            assert "secret" not in json.dumps(answer.json)
            assert await reader.read() == b""
            writer.close()

    run(main())
    assert "a secret" in caplog.text


@pytest.mark.parametrize("failure", [RuntimeError, ConnectionResetError, None], ids=str)
def test_an_answer_that_is_not_whole_is_cut(short_folder, run, failure):
    async def begin(request: Request) -> Reply:
        stream = request.stream({})
        await stream.write(b"a part")
        if failure:
            raise failure
        return stream

    async def main() -> None:
        async with serving(short_folder, begin) as client:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await client.get("/")

    run(main())


async def count(request: Request) -> Reply:
    stream = request.stream({"X": "y"}, length=3 if request.path == "/three" else None)
    for number in range(3):
        await stream.write(b"%d" % number)
    stream.end()
    return stream


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"chunked\r\n\r\n1\r\n0\r\n1\r\n1\r\n1\r\n2\r\n0\r\n\r\n"),
        (b"GET /three HTTP/1.1\r\n\r\n", b"Content-Length: 3\r\n\r\n012"),
        (b"GET / HTTP/1.0\r\n\r\n", b"Connection: close\r\n\r\n012"),
        (b"HEAD / HTTP/1.1\r\n\r\n", b"chunked\r\n\r\n"),
    ],
)
def test_a_stream_ends_as_its_client_understands_it(short_folder, run, content, end):
    async def main() -> None:
        async with serving(short_folder, count) as client:
            reader, writer = await client.connect()
            writer.write(content + b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(DEADLINE_S):
                found = await reader.read()
            answers = found.split(b"HTTP/1.1 200 OK\r\n")[1:]
            assert answers[0].endswith(end)
            assert len(answers) == (1 if b"1.0" in content else 2)
            writer.close()

    run(main())

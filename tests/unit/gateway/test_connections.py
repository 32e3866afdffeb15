"""The gateway's server with small handlers: torn, pipelined and endless requests, and how answers end."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrpack_runtime.gateway.app import run_loop
from mrpack_runtime.gateway.connections import Deadlines, GatewayServer
from mrpack_runtime.gateway.exchange import Reply, Request, Response
from mrpack_runtime.gateway.tls import server_context
from mrpack_runtime.wire.endpoint import UnixEndpoint
from tests.fakes.certificates import make_authority
from tests.fakes.gateway import DEADLINE_S, Client, read_answer, read_head, request_bytes, until

Handler = Callable[[Request], Awaitable[Reply]]
Serving = Callable[..., AbstractAsyncContextManager["Asked"]]
# More than all buffers on the way hold.
FLOOD = 64 * 1024 * 1024
PIECE = b"x" * 65536
# More than a client's own buffers hold.
STEP = 2 * 1024 * 1024
# The patrol looks at a connection by its own clock, which the test's would contradict.
UNPATROLLED = Deadlines(patrol_s=3600)


@dataclass(kw_only=True)
class Asked(Client):
    """A client, and whom it asks."""

    server: GatewayServer

    @property
    def connection(self) -> Any:
        (only,) = self.server.connections
        return only


async def echo(request: Request) -> Reply:
    body = b""
    while piece := await request.body.read():
        body += piece
    return Response(headers={"X-Path": request.path}, body=body)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of the server, and of clients."""
    authority = make_authority(tmp_path_factory.mktemp("authority"))
    authority.key.chmod(0o600)
    theirs = ssl.create_default_context(cafile=authority.ca_file)
    return server_context(authority.certificate, authority.key), theirs


@pytest.fixture(params=[False, True], ids=["plain", "TLS"])
def serving(
    short_folder: Path, contexts: tuple[ssl.SSLContext, ssl.SSLContext], request: pytest.FixtureRequest
) -> Serving:
    """A server with this one handler, and its client."""
    ours, theirs = contexts if request.param else (None, None)
    path = short_folder / "s"

    @asynccontextmanager
    async def started(answer: Handler, deadlines: Deadlines | None = None) -> AsyncIterator[Asked]:
        server = GatewayServer(answer, deadlines or Deadlines(), limit=16, tls=ours)
        loop = asyncio.get_running_loop()
        listener = await loop.create_unix_server(server, str(path))
        try:
            yield Asked(UnixEndpoint(path), theirs, server=server)
        finally:
            listener.close()
            await server.close(0.1)
            path.unlink(missing_ok=True)

    return started


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


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(bodies=BODIES, cuts=st.lists(st.floats(0, 1), max_size=12))
def test_requests_are_answered_in_order_however_they_are_torn_and_joined(serving, bodies, cuts):
    content = b"".join(framed(number, body, chunk) for number, (body, chunk) in enumerate(bodies))
    places = [0, *sorted(int(cut * len(content)) for cut in cuts), len(content)]

    async def send(writer: asyncio.StreamWriter) -> None:
        for begin, end in pairwise(places):
            writer.write(content[begin:end])
            await writer.drain()
            await asyncio.sleep(0)

    async def main() -> None:
        async with serving(echo) as client:
            reader, writer = await client.connect()
            sending = asyncio.create_task(send(writer))
            for number, (body, _) in enumerate(bodies):
                answer = await read_answer(reader)
                assert (answer.status, answer.headers["x-path"], answer.body) == (200, f"/{number}", body)
            await sending
            writer.close()

    run_loop(main())


def test_an_answer_before_the_end_of_a_body_arrives_and_ends_the_connection(serving, run):
    """Its client still sends: closing at once would throw the answer away with what was not read."""

    async def refuse(_: Request) -> Reply:
        return Response(status=413, body=b"too much")

    async def main() -> None:
        async with serving(refuse) as client:
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
    sent = 0
    _, writer = await client.connect()
    writer.write(start)
    try:
        async with asyncio.timeout(0.3) as patience:
            while sent < FLOOD:
                writer.write(PIECE)
                await writer.drain()
                sent += len(PIECE)
                patience.reschedule(loop.time() + 0.3)
    except TimeoutError:
        pass
    writer.transport.abort()
    return sent


@pytest.mark.parametrize(
    "start",
    [request_bytes("POST", "/", b"", {"Content-Length": str(2 * FLOOD)}), request_bytes("GET", "/")],
    ids=["a body that nobody reads", "requests ahead"],
)
def test_a_client_that_sends_more_than_is_wanted_has_to_wait(serving, run, start):
    over = asyncio.Event()

    async def wait(_: Request) -> Reply:
        await over.wait()
        return Response()

    async def main() -> None:
        async with serving(wait) as client:
            assert await flooded(client, start) < FLOOD / 8
            over.set()

    run(main())


def test_a_client_that_does_not_read_is_not_written_to_without_end(serving, run):
    written = 0

    async def pour(request: Request) -> Reply:
        nonlocal written
        stream = request.stream({})
        while True:
            await stream.write(PIECE)
            written += len(PIECE)

    async def main() -> None:
        async with serving(pour) as client:
            reader, writer = await client.connect()
            writer.transport.pause_reading()
            writer.write(request_bytes("GET", "/"))
            await until(lambda: written)
            before = 0
            while written != before:
                before = written
                await asyncio.sleep(0.2)
            assert written < FLOOD / 8
            writer.transport.resume_reading()
            await read_head(reader)
            writer.transport.abort()

    run(main())


def test_a_bug_is_told_without_its_details_and_ends_the_connection(serving, run, caplog):
    async def fail(_: Request) -> Reply:
        raise RuntimeError("a secret")

    async def main() -> None:
        async with serving(fail) as client:
            reader, writer = await client.connect()
            writer.write(request_bytes("GET", "/") * 2)
            answer = await read_answer(reader)
            assert answer.status == 500
            assert "secret" not in json.dumps(answer.json)
            assert await reader.read() == b""
            writer.close()

    run(main())
    assert "a secret" in caplog.text


@pytest.mark.parametrize("failure", [asyncio.CancelledError, ConnectionResetError])
def test_a_request_whose_work_was_given_up_is_answered_all_the_same(serving, run, failure):
    """By what it waited for, such as an engine's start: its client is still there."""

    async def give_up(_: Request) -> Reply:
        raise failure

    async def main() -> None:
        async with serving(give_up) as client:
            assert (await client.get("/")).status == 500

    run(main())


def test_a_last_answer_arrives_though_more_was_asked(serving, run):
    """What nobody reads any more would take it back."""
    more = asyncio.Event()

    async def close(_: Request) -> Reply:
        await more.wait()
        return Response(body=b"last")

    async def main() -> None:
        async with serving(close) as client:
            reader, writer = await client.connect()
            writer.write(request_bytes("GET", "/", headers={"Connection": "close"}))
            writer.write(request_bytes("GET", "/") * 20_000)
            await until(lambda: client.server.connections and not client.connection._transport.is_reading())
            more.set()
            assert (await read_answer(reader)).body == b"last"
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read() == b""
            writer.close()

    run(main())


@pytest.mark.parametrize("failure", [RuntimeError, ConnectionResetError, None], ids=str)
def test_an_answer_that_is_not_whole_is_cut(serving, run, failure):
    async def begin(request: Request) -> Reply:
        stream = request.stream({})
        await stream.write(b"a part")
        if failure:
            raise failure
        return stream

    async def main() -> None:
        async with serving(begin) as client:
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
def test_a_stream_ends_as_its_client_understands_it(serving, run, content, end):
    async def main() -> None:
        async with serving(count) as client:
            reader, writer = await client.connect()
            writer.write(content + b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(DEADLINE_S):
                found = await reader.read()
            answers = found.split(b"HTTP/1.1 200 OK\r\n")[1:]
            assert answers[0].endswith(end)
            assert len(answers) == (1 if b"1.0" in content else 2)
            writer.close()

    run(main())


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}], ids=["stays", "closes"])
def test_a_client_that_reads_slowly_is_waited_for_as_long_as_it_reads(serving, run, headers):
    """On a clock of the test's own: every step is a minute."""

    async def answer(_: Request) -> Reply:
        return Response(body=bytes(6 * STEP))

    async def main() -> None:
        async with serving(answer, UNPATROLLED) as client:
            reader, writer = await client.connect()
            writer.write(request_bytes("GET", "/", headers=headers))
            await read_head(reader)
            connection, begin = client.connection, asyncio.get_running_loop().time()
            for minute in range(5):
                assert not connection.is_overdue(begin + 60 * minute)
                assert connection.is_overdue(begin + 60 * minute + 61)  # if it took nothing until then
                await reader.readexactly(STEP)
            await reader.readexactly(STEP)
            if headers:
                async with asyncio.timeout(DEADLINE_S):
                    assert await reader.read() == b""
            writer.close()

    run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what it has not sent")
def test_what_the_system_sends_counts_as_taken(short_folder, run):
    """It takes more of an answer only when most of its buffer is free again."""
    path = short_folder / "s"

    async def answer(_: Request) -> Reply:
        return Response(body=bytes(STEP))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = GatewayServer(answer, UNPATROLLED, limit=1)
        listener = await loop.create_unix_server(server, str(path))
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            await loop.sock_connect(client, str(path))
            await loop.sock_sendall(client, request_bytes("GET", "/"))
            await loop.sock_recv(client, 1)
            (connection,) = server.connections
            begin = loop.time()
            for minute in range(10):
                assert not connection.is_overdue(begin + 60 * minute)
                await loop.sock_recv(client, len(PIECE))
            assert not connection.is_overdue(begin + 600)
            assert connection.is_overdue(begin + 661)
        listener.close()
        await server.close(0)

    run(main())


def test_a_client_that_ends_its_side_has_left(serving, run):
    """So do most who leave: an engine must not work for somebody who may have gone."""
    left = asyncio.Event()

    async def wait(_: Request) -> Reply:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    async def main() -> None:
        async with serving(wait) as client:
            reader, writer = await client.connect()
            writer.write(request_bytes("GET", "/"))
            await until(lambda: client.server.connections and client.connection.task is not None)
            if writer.can_write_eof():
                writer.write_eof()
            else:
                writer.close()
            async with asyncio.timeout(DEADLINE_S):
                await left.wait()
                assert await reader.read() == b""
            await until(lambda: not client.server.connections)
            writer.close()

    run(main())

"""What a client may not do: dawdle, send too much, or keep what it does not use."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

import pytest

from mrpack_runtime.gateway.app import run_loop
from mrpack_runtime.gateway.connections import Deadlines
from tests.fakes.gateway import CHAT, Running, chat_body, gateway, read_answer, request_bytes, until
from tests.waiting import DEADLINE_S

JSON = {"Content-Type": "application/json"}
ASKED_AHEAD = 1000
HASTY = Deadlines(header_s=0.3, body_idle_s=0.3, idle_s=0.5, write_s=0.5, patrol_s=0.05)


@pytest.mark.parametrize(
    "start",
    [b"", b"G", b"GET / HTTP/1.1\r\n", b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX: "],
)
def test_half_open_connections_are_cut(short_folder, start):
    async def main() -> None:
        async with gateway(short_folder, deadlines=HASTY) as g:
            opened = [await g.client.connect() for _ in range(20)]
            for _, writer in opened:
                writer.write(start)
            assert (await g.client.get("/health")).status == 200
            async with asyncio.timeout(DEADLINE_S):
                for reader, _ in opened:
                    assert await end_of(reader) == b""
            for _, writer in opened:
                writer.close()

    asyncio.run(main())


async def end_of(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


def test_a_header_that_drips_is_cut_all_the_same(short_folder):
    async def main() -> None:
        async with gateway(short_folder, deadlines=HASTY) as g:
            reader, writer = await g.client.connect()
            end = asyncio.create_task(end_of(reader))
            writer.write(b"GET / HTTP/1.1\r\n")
            async with asyncio.timeout(DEADLINE_S):
                while not end.done():
                    writer.write(b"X")
                    await asyncio.sleep(0.02)
            writer.close()

    asyncio.run(main())


def test_a_second_request_that_never_ends_is_cut_too(short_folder):
    async def main() -> None:
        patient = Deadlines(header_s=0.3, idle_s=600, patrol_s=0.05)
        async with gateway(short_folder, deadlines=patient) as g:
            reader, writer = await g.client.connect()
            writer.write(request_bytes("GET", "/health"))
            assert (await read_answer(reader)).status == 200
            writer.write(b"GET /hea")
            async with asyncio.timeout(DEADLINE_S):
                assert await end_of(reader) == b""
            writer.close()

    asyncio.run(main())


class StandsStill(asyncio.Protocol):
    """Stops the whole loop when it is answered, and writes for another client at the end of that."""

    def __init__(self, other: asyncio.StreamWriter) -> None:
        self._other = other

    def data_received(self, _: bytes) -> None:
        time.sleep(3 * HASTY.header_s)
        self._other.write(request_bytes("GET", "/health"))


def test_a_request_that_came_while_the_gateway_stood_still_is_answered(short_folder):
    async def main() -> None:
        async with gateway(short_folder, deadlines=HASTY) as g:
            reader, writer = await g.client.connect()
            loop = asyncio.get_running_loop()
            endpoint = g.client.endpoint
            still, _ = await loop.create_connection(lambda: StandsStill(writer), endpoint.host, endpoint.port)
            still.write(request_bytes("GET", "/health"))
            assert (await read_answer(reader)).status == 200
            for transport in (still, writer):
                transport.close()

    run_loop(main())


def test_a_client_that_stood_still_with_the_gateway_is_not_late(short_folder):
    async def main() -> None:
        async with gateway(short_folder, deadlines=replace(HASTY, patrol_s=0.2)) as g:
            reader, writer = await g.client.connect()
            time.sleep(3 * HASTY.header_s)  # noqa: ASYNC251  # the whole loop, which is both
            for _ in range(3):
                await asyncio.sleep(0)
            writer.write(request_bytes("GET", "/health"))
            assert (await read_answer(reader)).status == 200
            writer.close()

    run_loop(main())


def test_idle_connections_are_closed(short_folder):
    async def main() -> None:
        async with gateway(short_folder, deadlines=HASTY) as g:
            reader, writer = await g.client.connect()
            writer.write(request_bytes("GET", "/health"))
            assert (await read_answer(reader)).status == 200
            async with asyncio.timeout(DEADLINE_S):
                assert await end_of(reader) == b""
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("framing", [{"Content-Length": "1000"}, {"Transfer-Encoding": "chunked"}])
def test_a_body_that_stops_is_a_timeout(short_folder, framing):
    async def main() -> None:
        async with gateway(short_folder, deadlines=HASTY) as g:
            reader, writer = await g.client.connect()
            writer.write(
                request_bytes("POST", CHAT, b'5\r\n{"mod', {**JSON, **framing, "Content-Length": "1000"})
                if "Content-Length" in framing
                else request_bytes("POST", CHAT, None, {**JSON, **framing}) + b'5\r\n{"mod'
            )
            answer = await read_answer(reader)
            assert (answer.status, answer.json["error"]["code"]) == (408, "request_timeout")
            writer.close()

    asyncio.run(main())


def test_a_body_that_drips_has_an_end(short_folder):
    async def main() -> None:
        async with gateway(short_folder, deadlines=HASTY) as g:
            reader, writer = await g.client.connect()
            writer.write(request_bytes("POST", CHAT, b"", {**JSON, "Content-Length": "100000"}))
            answer = asyncio.create_task(read_answer(reader))
            async with asyncio.timeout(DEADLINE_S):
                while not answer.done():
                    writer.write(b" ")
                    await asyncio.sleep(0.05)
            assert (await answer).status == 408
            writer.close()

    asyncio.run(main())


def test_bodies_of_all_clients_together_are_bounded_and_their_room_is_given_back(short_folder):
    async def main() -> None:
        async with gateway(short_folder, body_room=3_000_000) as g:
            large = json.dumps(chat_body(padding="x" * 2_000_000)).encode()
            assert (await g.client.post(CHAT, large)).status == 200
            _, writer = await g.client.connect()
            writer.write(request_bytes("POST", CHAT, large[:-1], {**JSON, "Content-Length": str(len(large))}))
            await writer.drain()
            await until(lambda: refused(g, large))
            assert (await g.client.chat()).status == 200
            writer.transport.abort()
            await until(lambda: accepted(g, large))

    async def refused(g: Running, body: bytes) -> bool:
        answer = await g.client.post(CHAT, body)
        assert answer.status == 200 or answer.headers["retry-after"]
        return answer.status == 503

    async def accepted(g: Running, body: bytes) -> bool:
        return (await g.client.post(CHAT, body)).status == 200

    asyncio.run(main())


def test_too_large_bodies_are_refused_without_being_read(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.connect()
            writer.write(request_bytes("POST", CHAT, b"{", {**JSON, "Content-Length": str(10**12)}))
            assert (await read_answer(reader)).status == 413
            writer.close()

    asyncio.run(main())


def test_too_large_chunked_bodies_are_refused(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.connect()
            writer.write(request_bytes("POST", CHAT, None, {**JSON, "Transfer-Encoding": "chunked"}))
            answer = asyncio.create_task(read_answer(reader))
            piece = b"%x\r\n" % (1 << 20) + b" " * (1 << 20) + b"\r\n"
            for _ in range(40):
                if answer.done():
                    break
                writer.write(piece)
                await asyncio.sleep(0)
            assert (await answer).status == 413
            writer.close()

    asyncio.run(main())


def test_chunked_bodies_are_read(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.connect()
            writer.write(request_bytes("POST", CHAT, None, {**JSON, "Transfer-Encoding": "chunked"}))
            for piece in (b'{"model": "fa', b'ke", "messages": [{"role": "user", "content": "hi"}]}'):
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await asyncio.sleep(0.05)
            writer.write(b"0\r\n\r\n")
            assert (await read_answer(reader)).status == 200
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize(("body", "status"), [(json.dumps(chat_body()).encode(), 200), (b"[", 400)])
def test_a_client_that_asks_to_continue_is_told_to_and_answered(short_folder, body, status):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.connect()
            head = request_bytes(
                "POST", CHAT, b"", {**JSON, "Expect": "100-continue", "Content-Length": str(len(body))}
            )
            writer.write(head)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert (await read_answer(reader)).status == status
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 2000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_an_openai_error_and_an_end(short_folder, content):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.connect()
            writer.write(content)
            answer = await read_answer(reader)
            assert answer.status == 400
            assert answer.json["error"]["type"] == "invalid_request_error"
            assert "Traceback" not in answer.body.decode()
            async with asyncio.timeout(DEADLINE_S):
                assert await end_of(reader) == b""
            writer.close()

    asyncio.run(main())


def test_a_client_that_takes_nothing_is_cut_and_its_engine_freed(short_folder):
    async def main() -> None:
        async with gateway(short_folder, deadlines=HASTY) as g:
            await g.client.chat()
            _, writer = await g.client.connect()
            writer.transport.pause_reading()
            body = chat_body(prompt="echo " + "x" * 10_000, stream=True, fake={"chunks": 100_000})
            writer.write(request_bytes("POST", CHAT, json.dumps(body).encode(), JSON))
            await until(lambda: g.pool.snapshot()[0].busy == 1)
            await until(lambda: g.pool.snapshot()[0].busy == 0)
            writer.transport.abort()

    asyncio.run(main())


def test_who_takes_no_answer_gets_no_further_ones(short_folder, caplog):
    """Else a few bytes of questions would fill the memory with answers."""

    def answered() -> int:
        return sum("/openapi.json 200" in record.getMessage() for record in caplog.records)

    async def main() -> None:
        async with gateway(short_folder) as g:
            _, writer = await g.client.connect()
            writer.transport.pause_reading()
            writer.write(request_bytes("GET", "/openapi.json") * ASKED_AHEAD)
            before = -1
            while before < (before := answered()):
                for _ in range(10):
                    assert (await g.client.chat()).status == 200
            writer.transport.abort()

    with caplog.at_level("INFO", "mrpack_runtime.gateway"):
        asyncio.run(main())
    assert 0 < answered() < ASKED_AHEAD / 2


def test_the_real_deadlines_keep_the_promise_of_fifteen_seconds():
    real = Deadlines()
    assert real.header_s + real.patrol_s <= 15
    assert real.body_idle_s <= 15
    assert cut_at(real, bytes_a_second=1) < 15


def test_an_honest_upload_over_a_slow_line_is_let_through():
    assert cut_at(Deadlines(), bytes_a_second=125_000 / 2) is None
    assert cut_at(Deadlines(), bytes_a_second=125_000) is None


def cut_at(deadlines: Deadlines, bytes_a_second: float) -> float | None:
    """When, if ever, a body of 10 MB is given up that comes in ten pieces a second."""
    seconds = 0.0
    while (size := int(seconds * bytes_a_second)) < 10_000_000:
        if (latest := deadlines.of_next_piece(0, seconds, size)) < seconds + 0.1:
            return latest
        seconds += 0.1
    return None


def test_a_fast_beginning_buys_no_long_pause():
    deadlines = Deadlines()
    assert deadlines.of_next_piece(0, 1, 10_000_000) == 1 + deadlines.body_idle_s

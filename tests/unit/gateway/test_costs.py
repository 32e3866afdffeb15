"""What a request may cost: no more than its bytes, however they are chosen and however they come."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import pytest

from mrpack_runtime.gateway.bodies import VALUES_LIMIT
from tests.fakes.gateway import CHAT, Running, chat_body, gateway, read_head, request_bytes
from tests.unit.gateway.test_hostile import BODY, CHUNKED, END, SIZE, chat, chunk
from tests.waiting import DEADLINE_S

ENDLESS = {
    "spaces in a header": request_bytes("GET", "/health", headers={"X": "a" + " " * 16_000 + "b"}),
    "tabs after a header": request_bytes("GET", "/health", headers={"X": "a" + "\t" * 16_000}),
    "headers": b"GET /health HTTP/1.1\r\n" + b"a:b\r\n" * 16_000 + b"\r\n",
    "spaces in a size": chat(CHUNKED, body=chunk(SIZE + b" " * 4000 + b";")),
    "escapes": request_bytes("GET", "/" + "%2f" * 5000),
    "questions": request_bytes("GET", "/logs?" + "&" * 15_000),
    "empty lines": b"\r\n" * 32_000 + request_bytes("GET", "/health"),
    "chunks of a byte": chat(CHUNKED, body=b"".join(b"1\r\n%c\r\n" % byte for byte in BODY * 99) + END),
    "extensions": chat(CHUNKED, body=b"1;%s\r\n \r\n" % (b"x" * 4000) * 500 + END),
    "trailers": chat(CHUNKED, body=chunk(SIZE)[:-2] + b"a:b\r\n" * 50_000),
    "codings": request_bytes("GET", "/health", headers={"Transfer-Encoding": "," * 16_000}),
}


async def cost_s(g: Running, content: bytes, step: int) -> float:
    """CPU of this process for an answer, sent in so many pieces: other load does not count."""
    reader, writer = await g.client.connect()
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    begin = time.process_time()
    for at in range(0, len(content), step):
        writer.write(content[at : at + step])
        await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE_S):
        await reader.readline()
    writer.close()
    return time.process_time() - begin


@pytest.mark.parametrize("content", ENDLESS.values(), ids=ENDLESS.keys())
def test_no_request_costs_more_than_its_bytes(short_folder, content):
    async def main() -> None:
        async with gateway(short_folder) as g:
            await g.client.chat()
            plain = await cost_s(
                g, chat(f"Content-Length: {len(content)}", body=b" " * len(content)), 1 << 20
            )
            assert await cost_s(g, content, 1 << 20) < 0.1 + 20 * plain

    asyncio.run(main())


def test_a_head_that_comes_byte_by_byte_costs_no_more_than_its_bytes(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            short, long = (
                request_bytes("GET", "/health", headers={f"X{n}": "x" * 8000 for n in range(count)})
                for count in (1, 7)
            )
            assert await cost_s(g, long, 8) < 20 * await cost_s(g, short, 8)

    asyncio.run(main())


@pytest.mark.parametrize("value", ["[]", "{}", "0", '""'])
def test_json_of_too_many_values_is_refused_before_it_is_read(short_folder, value):
    async def main() -> None:
        async with gateway(short_folder) as g:
            for count, status in ((VALUES_LIMIT // 4, 200), (VALUES_LIMIT * 2, 413)):
                values = ",".join([value] * count)
                body = f'{json.dumps(chat_body())[:-1]}, "x": [{values}]}}'.encode()
                answer = await g.client.post(CHAT, body)
                assert answer.status == status, count
            assert answer.json["error"]["code"] == "request_too_large"

    asyncio.run(main())


def test_empty_lines_without_end_are_refused(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.connect()
            writer.write(b"\r\n" * 1_000_000)
            async with asyncio.timeout(DEADLINE_S):
                assert (await read_head(reader))[0] == 400
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_nesting_of_any_depth_is_passed_on_or_refused(short_folder, opening):
    closing = {"[": "]"}.get(opening, "}")

    async def main() -> None:
        async with gateway(short_folder) as g:
            for depth in (*range(940, 1010), 10_000, 200_000):
                nested = opening * depth + "1" + closing * depth
                body = f'{json.dumps(chat_body())[:-1]}, "x": {nested}}}'.encode()
                answer = await g.client.post(CHAT, body)
                assert answer.status == 200 or answer.json["error"]["code"] == "invalid_json", depth
            assert answer.status == 400

    asyncio.run(main())

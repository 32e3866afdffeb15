"""What a request may cost: no more than its bytes, however they are chosen and however they come."""

from __future__ import annotations

import asyncio
import json
import sys

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


# A request of a few bytes takes some 500 of them.
CALLS, CALLS_A_BYTE = 2000, 3


async def calls(g: Running, content: bytes) -> int:
    """Of functions, by all tasks of this process, up to the answer: the same number on every machine."""
    count = 0

    def profile(_frame: object, event: str, _subject: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    reader, writer = await g.client.connect()
    sys.setprofile(profile)
    try:
        writer.write(content)
        async with asyncio.timeout(DEADLINE_S):
            await reader.readline()
    finally:
        sys.setprofile(None)
        writer.close()
    return count


@pytest.mark.parametrize("content", ENDLESS.values(), ids=ENDLESS.keys())
def test_no_request_costs_more_than_its_bytes(short_folder, content):
    """In calls; what a single call costs is measured by benchmarks/costs.py."""

    async def main() -> None:
        async with gateway(short_folder) as g:
            assert await calls(g, content) < CALLS + CALLS_A_BYTE * len(content)

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

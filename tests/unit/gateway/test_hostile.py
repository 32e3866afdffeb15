"""Clients that are hostile: HTTP that can be read in two ways, paths in disguise, and leaving at any byte."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress

import pytest

from mrpack_runtime.gateway.connections import Deadlines
from mrpack_runtime.gateway.guard import Policy, Scope, hash_key
from mrpack_runtime.gateway.routes import mounted
from tests.effort import EFFORT
from tests.fakes.gateway import CHAT, Running, chat_body, gateway, read_head, request_bytes, until
from tests.waiting import DEADLINE_S

JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
BODY = json.dumps(chat_body()).encode()
LENGTH = f"Content-Length: {len(BODY)}"
# Stands behind a request whose end is unclear: nobody may ever answer it.
SECOND = b"GET /engines/ps HTTP/1.1\r\nHost: localhost\r\n\r\n"
END = b"0\r\n\r\n"


def chat(*headers: str, body: bytes = BODY, line_end: str = "\r\n") -> bytes:
    lines = [f"POST {CHAT} HTTP/1.1", "Host: localhost", JSON, *headers, "", ""]
    return line_end.join(lines).encode("latin-1") + body


def chunk(size_line: bytes, content: bytes = BODY, end: bytes = b"\r\n") -> bytes:
    return size_line + b"\r\n" + content + end + END


SIZE = b"%x" % len(BODY)
UNCLEAR = {
    "a length and chunks": chat(LENGTH, CHUNKED, body=END),
    "chunks and a length": chat(CHUNKED, LENGTH, body=END),
    "two lengths": chat(LENGTH, "Content-Length: 1"),
    "a list of lengths": chat(f"{LENGTH}, {len(BODY)}"),
    "a length with a sign": chat(f"Content-Length: +{len(BODY)}"),
    "a length in hexadecimal": chat(f"Content-Length: {len(BODY):#x}"),
    "a length with a space before its colon": chat(f"Content-Length : {len(BODY)}"),
    "a length with an underscore": chat("Content-Length: 1_0"),
    "a length of nothing": chat("Content-Length: "),
    "a length beyond numbers": chat("Content-Length: " + "9" * 40),
    "chunks twice": chat(CHUNKED, CHUNKED, body=END),
    "chunks in chunks": chat(f"{CHUNKED}, chunked", body=END),
    "chunks that are not the last coding": chat(f"{CHUNKED}, identity", body=END),
    "a coding like chunks": chat("Transfer-Encoding: xchunked", body=END),
    "a coding behind a vertical tab": chat("Transfer-Encoding: \x0bchunked", body=END),
    "a coding of nothing": chat(LENGTH, "Transfer-Encoding: "),
    "chunks behind a coding of nothing": chat("Transfer-Encoding: ,", CHUNKED, body=END),
    "a coding on a folded line": chat("Transfer-Encoding:\r\n chunked", body=END),
    "a folded line": chat("X: a\r\n b", LENGTH),
    "lines without carriage return": chat(LENGTH, line_end="\n"),
    "a carriage return in a line": chat("X: a\rY: b", LENGTH),
    "a NUL in a line": chat("X: a\0b", LENGTH),
    "a header without name": chat(": b", LENGTH),
    "a size below nothing": chat(CHUNKED, body=chunk(b"-1")),
    "a size in C's words": chat(CHUNKED, body=chunk(b"0x" + SIZE)),
    "a size beyond numbers": chat(CHUNKED, body=chunk(b"f" * 18)),
    "a size with a space": chat(CHUNKED, body=chunk(SIZE + b" ")),
    "a size without carriage return": chat(CHUNKED, body=SIZE + b"\n" + BODY + b"\n0\n\n"),
    "a line end in an extension": chat(CHUNKED, body=chunk(SIZE + b";a\nb")),
    "a carriage return in an extension": chat(CHUNKED, body=chunk(SIZE + b";a\rb")),
    "a chunk that goes on": chat(CHUNKED, body=chunk(SIZE, end=b"xx\r\n")),
    "a length in the trailer": chat(CHUNKED, body=chunk(SIZE)[:-2] + b"Content-Length: 3\r\n\r\n"),
    "a request in the trailer": chat(CHUNKED, body=chunk(SIZE)[:-2] + b"\n" + SECOND),
    "two hosts": b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HTTP/2 at once": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another version": b"GET /health HTTP/2.0\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("content", UNCLEAR.values(), ids=UNCLEAR.keys())
def test_what_two_servers_could_read_in_two_ways_is_refused_with_all_behind_it(short_folder, content):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.connect()
            writer.write(content + SECOND)
            async with asyncio.timeout(DEADLINE_S):
                status, headers = await read_head(reader)
                error = json.loads(await reader.readexactly(int(headers["content-length"])))["error"]
                assert (status, error["code"]) == (400, "invalid_request")
                assert await reader.read() == b""
            writer.close()

    asyncio.run(main())


GETS = sorted({path for path, route in mounted() if route.method == "GET"})


def test_head_is_answered_without_a_body(short_folder):
    """Else the client takes the rest for the answer to its next request."""

    async def main() -> None:
        async with gateway(short_folder) as g:
            await g.client.chat()
            for path in GETS:
                asked = path.replace("{engine}", "fake").replace("{model}", "fake").replace("{id}", "x")
                if asked == "/logs":
                    asked += "?follow=true"
                reader, writer = await g.client.connect()
                writer.write(request_bytes("HEAD", asked) + request_bytes("GET", "/version"))
                async with asyncio.timeout(DEADLINE_S):
                    await read_head(reader)
                    assert await reader.readexactly(9) == b"HTTP/1.1 ", path
                writer.close()

    asyncio.run(main())


DISGUISES = (
    *("/{0}//{1}", "//{0}/{1}", "/./{0}/{1}", "/{0}/../{0}/{1}", "/{0}/{1}/", "/{0}/{1}/.", "/x/../{0}/{1}"),
    *("/{0}%2f{1}", "/%2e/{0}/{1}", "/{0}/%2e%2e/{0}/{1}", "/{0}/{1}%00", "/{0}/{1}%20", "/{0}/{1};x"),
    *("/{0}\\{1}", "/{0}%5c{1}", "/{0}/{1}?x", "/{0}/{1}#x", "http://localhost/{0}/{1}", "/{0}%252f{1}"),
)


def test_no_disguise_of_a_path_opens_what_is_closed(short_folder):
    policy = Policy(key_hashes=(hash_key("k"),), management_hashes=(hash_key("m"),))
    closed = [
        (route.method, path)
        for path, route in mounted()
        if route.scope is Scope.MANAGEMENT and path.count("/") > 1
    ]

    async def main() -> None:
        async with gateway(short_folder, policy=policy) as g:
            assert len(closed) > 5
            for method, path in closed:
                first, _, rest = path[1:].replace("{model}", "fake").partition("/")
                for disguise in DISGUISES:
                    target = disguise.format(first, rest)
                    answer = await g.client.request(method, target, headers={"X-Api-Key": "k"})
                    assert answer.status in {400, 401, 403, 404, 405}, (method, target, answer)

    asyncio.run(main())


def test_a_path_forges_no_line_of_the_log(short_folder, caplog):
    async def main() -> None:
        async with gateway(short_folder) as g:
            for path in ("/x%0d%0aforged", "/v1/models/x%0aforged", "/x%1b[31m", "/x%c2%85forged"):
                assert (await g.client.get(path)).status in {400, 404}

    with caplog.at_level("DEBUG"):
        asyncio.run(main())
    lines = [record.getMessage() for record in caplog.records if "mrpack" in record.name]
    assert any("/x" in line for line in lines)
    assert all(line.isprintable() for line in lines)


SEEDS = (
    chat(LENGTH),
    chat(CHUNKED, body=chunk(SIZE + b";a=b")[:-2] + b"X: y\r\n\r\n"),
    request_bytes("GET", "/v1/models?x=%20y", headers={"Expect": "100-continue"}),
    request_bytes("HEAD", "/health") * 3,
)
PARTS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"%",
        b"\xff",
        b"-1",
        b"9" * 20,
        END,
        SECOND,
    ),
    *(b"HTTP/1.0", b"Connection: close\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
)


def spoiled(dice: random.Random) -> bytes:
    content = bytearray(dice.choice(SEEDS))
    for _ in range(dice.randrange(1, 5)):
        at = dice.randrange(len(content))
        match dice.randrange(4):
            case 0:
                content[at:at] = dice.choice(PARTS)
            case 1:
                del content[at : at + dice.randrange(1, 9)]
            case 2:
                content[at] = dice.randrange(256)
            case _:
                content[at:at] = content[at : at + dice.randrange(1, 40)]
    return bytes(content)


def test_any_bytes_get_an_answer_or_an_end(short_folder, caplog):
    dice = random.Random(7)
    hasty = Deadlines(header_s=0.5, body_idle_s=0.5, idle_s=0.5, patrol_s=0.05)

    async def ask(g: Running) -> None:
        content, step = spoiled(dice), dice.choice([1 << 20, 50, 7])
        reader, writer = await g.client.connect()
        for at in range(0, len(content), step):
            writer.write(content[at : at + step])
            await asyncio.sleep(0)
        with suppress(ConnectionError):
            async with asyncio.timeout(DEADLINE_S):
                assert b"internal error" not in await reader.read(), content
        writer.close()

    async def main() -> None:
        async with gateway(short_folder, deadlines=hasty) as g:
            await g.client.chat()
            for _ in range(4 * EFFORT):
                await asyncio.gather(*(ask(g) for _ in range(50)))
            await until(lambda: g.pool.snapshot()[0].busy == 0)

    asyncio.run(main())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_clients_that_leave_at_any_byte_leave_nothing_behind(short_folder, caplog):
    dice = random.Random(7)
    whole = request_bytes("POST", CHAT, json.dumps(chat_body(stream=True)).encode(), dict([JSON.split(": ")]))

    async def leave(client) -> None:
        _, writer = await client.connect()
        writer.write(whole[: dice.randrange(len(whole) + 1)])
        await asyncio.sleep(dice.random() * 0.05)
        writer.transport.abort()

    async def main() -> None:
        async with gateway(short_folder) as g:
            await g.client.chat()
            before = len(asyncio.all_tasks())
            for _ in range(10):
                await asyncio.gather(*(leave(g.client) for _ in range(30)))
            await until(lambda: g.pool.snapshot()[0].busy == 0 and len(asyncio.all_tasks()) <= before)
            assert (await g.client.chat()).status == 200

    asyncio.run(main())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]

"""A request as its handler sees it, on a wire that a script holds: nothing is lost where it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from mrpack_runtime.gateway.exchange import Request, Response
from mrpack_runtime.gateway.heads import parse_request_head
from mrpack_runtime.protocols.refusal import RequestRefused

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PIECE = b"x" * 65536


@dataclass
class Script:
    """A wire whose client has room, or not, and stays, or not."""

    sent: bytearray = field(default_factory=bytearray)
    is_left: bool = False
    is_held: bool = False
    room: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, *parts: bytes) -> None:
        if self.is_left:
            raise ConnectionResetError
        self.sent += b"".join(parts)

    async def drain(self) -> None:
        await self.room.wait()

    def hold(self) -> None:
        self.is_held = True

    def resume(self) -> None:
        self.is_held = False


def asked(*lines: str, wire: Script | None = None, first: str = "POST / HTTP/1.1") -> tuple[Request, Script]:
    script = wire or Script()
    return Request(parse_request_head("\r\n".join([first, *lines]).encode()), script), script


async def stopped(work: Any, meanwhile: Callable[[], Any] = lambda: None) -> None:
    """At what it waits for first."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    meanwhile()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("line", "pieces"),
    [
        ("Content-Length: 6", (b"abc", b"def")),
        ("Transfer-Encoding: chunked", (b"3\r\nabc\r\n", b"3\r\ndef\r\n0\r\n\r\n")),
    ],
)
def test_a_body_loses_nothing_to_a_reader_that_is_stopped(line, pieces):
    async def main() -> None:
        request, _ = asked(line)
        await stopped(request.body.read())
        await stopped(request.body.read(), lambda: request.body.feed(pieces[0]))
        assert request.body.feed(pieces[1] + b"GET /") == b"GET /"
        assert await request.body.read() == b"abcdef"
        assert await request.body.read() == b""

    asyncio.run(main())


def test_what_is_no_body_is_told_to_every_reader_after_what_was_one():
    async def main() -> None:
        request, _ = asked("Transfer-Encoding: chunked")
        assert request.body.feed(b"3\r\nabc\r\n") == b""
        assert request.body.feed(b"zz\r\n") == b""
        assert request.body.feed(b"GET / HTTP/1.1\r\n\r\n") == b""
        assert await request.body.read() == b"abc"
        for _ in range(2):
            with pytest.raises(RequestRefused):
                await request.body.read()
        assert not request.body.is_complete

    asyncio.run(main())


def test_a_client_is_held_while_its_body_is_not_read():
    request, wire = asked(f"Content-Length: {len(PIECE) * 9}")
    for _ in range(8):
        request.body.feed(PIECE)
    assert wire.is_held
    assert len(request.body.take()) == len(PIECE) * 8
    assert not wire.is_held
    request.body.feed(PIECE)
    assert request.body.is_complete
    assert not wire.is_held


@pytest.mark.parametrize(
    ("first", "lines", "there", "told"),
    [
        ("POST / HTTP/1.1", ("Content-Length: 3",), b"", CONTINUE),
        ("POST / HTTP/1.1", ("Transfer-Encoding: chunked",), b"", CONTINUE),
        ("POST / HTTP/1.1", ("Transfer-Encoding: chunked",), b"3", CONTINUE),
        ("POST / HTTP/1.1", ("Content-Length: 3",), b"a", b""),
        ("POST / HTTP/1.1", ("Content-Length: 0",), b"", b""),
        ("GET / HTTP/1.1", (), b"", b""),
        ("POST / HTTP/1.0", ("Content-Length: 3",), b"", b""),
    ],
)
def test_a_client_is_told_once_to_go_on_and_only_where_it_waits(first, lines, there, told):
    async def main() -> None:
        request, wire = asked("Expect: 100-Continue", *lines, first=first)
        request.body.feed(there)
        for _ in range(2):
            reading = asyncio.create_task(request.body.read())
            await asyncio.sleep(0)
            reading.cancel()
        assert wire.sent == told

    asyncio.run(main())


def test_an_answer_before_the_body_does_not_ask_for_it():
    request, wire = asked("Expect: 100-continue", "Content-Length: 3")
    request.send(Response(status=404))
    assert wire.sent.startswith(b"HTTP/1.1 404 ")
    assert b"Connection: close" in wire.sent


def test_a_stream_waits_for_room_and_can_be_stopped_there():
    async def main() -> None:
        request, wire = asked("Content-Length: 0")
        stream = request.stream({})
        await stopped(stream.write(b"a"))
        wire.room.set()
        await stream.write(b"")
        await stream.write(b"b")
        assert not request.is_answered
        stream.end()
        assert request.is_answered
        assert wire.sent.endswith(b"\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")

    asyncio.run(main())


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_client_that_has_left_before_the_answer_is_noticed(is_whole):
    request, wire = asked("Content-Length: 0")
    wire.is_left = True
    with pytest.raises(ConnectionResetError):
        request.send(Response()) if is_whole else request.stream({})
    assert not request.is_answered


def test_a_client_that_leaves_in_the_answer_is_noticed_with_the_next_piece():
    async def main() -> None:
        request, wire = asked("Content-Length: 0")
        stream = request.stream({})
        wire.is_left = True
        with pytest.raises(ConnectionResetError):
            await stream.write(b"a")
        with pytest.raises(ConnectionResetError):
            stream.end()
        assert not request.is_answered

    asyncio.run(main())


@pytest.mark.parametrize("status", [200, 204, 304, 404])
def test_head_and_statuses_without_a_body_have_none(status):
    request, wire = asked(first="HEAD / HTTP/1.1")
    request.send(Response(status=status, body=b"abc"))
    assert wire.sent.endswith(b"\r\n\r\n")
    assert (b"Content-Length: 3" in wire.sent) is (status in {200, 404})

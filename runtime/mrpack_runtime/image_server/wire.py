"""The server's half of HTTP/1.1 over asyncio: bounded, one request at a time on a connection.

The only client is the gateway, on a Unix socket that nobody else can enter; still nothing here is unbounded.
When the client leaves, the handler of its request is cancelled at once: that is what stops the painting.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from .refusal import Refusal

HEAD_LIMIT: Final = 64 * 1024
BODY_LIMIT: Final = 80 * 1024 * 1024
# From one request to the next, and for a body that has begun.
_IDLE_S: Final = 120.0
_REQUEST_LINE = re.compile(r"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.1")
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Request:
    """`fields`: headers with names in lower case. `path` without its query."""

    method: str
    path: str
    fields: Mapping[str, str]
    body: bytes


class Answer:
    """Written once: `json`, or `begin_events` and then `event` until the handler returns."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._streaming = False
        self.status = 0

    async def json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        await self._whole(status, _JSON, json.dumps(value).encode(), headers or {})

    async def text(self, text: str) -> None:
        await self._whole(200, "text/plain; charset=utf-8", text.encode(), {})

    async def refuse(self, refusal: Refusal) -> None:
        """In the middle of a stream, as its last event."""
        if self._streaming:
            await self.event("error", {"type": "error", **refusal.to_json()})
        elif not self.status:
            await self.json(refusal.status, refusal.to_json(), refusal.headers)

    async def begin_events(self) -> None:
        self._streaming = True
        self._head(
            200, {"Content-Type": _EVENTS, "Cache-Control": "no-store", "Transfer-Encoding": "chunked"}
        )
        await self._writer.drain()

    async def event(self, name: str, value: Any) -> None:
        self._chunk(f"event: {name}\ndata: {json.dumps(value)}\n\n".encode())
        await self._writer.drain()

    async def end(self) -> None:
        if self._streaming:
            self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    def _chunk(self, content: bytes) -> None:
        self._writer.write(b"%x\r\n" % len(content))
        self._writer.write(content)
        self._writer.write(b"\r\n")

    async def _whole(self, status: int, kind: str, content: bytes, headers: Mapping[str, str]) -> None:
        self._head(status, {"Content-Type": kind, "Content-Length": str(len(content)), **headers})
        self._writer.write(content)
        await self._writer.drain()

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))


Handler = Callable[[Request, Answer], Awaitable[None]]


async def serve_connection(
    handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answers requests until the client leaves, or sends something that is not HTTP."""
    try:
        with suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            while await _answer_one(handler, reader, writer):
                pass
    finally:
        writer.close()


async def _answer_one(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether another request may follow."""
    answer = Answer(writer)
    try:
        async with asyncio.timeout(_IDLE_S):
            request = await _read_request(reader)
    except Refusal as refusal:
        await answer.refuse(refusal)
        return False
    answering = asyncio.ensure_future(_handle(handler, request, answer))
    leaving = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():  # closed, or speaks out of turn
            return False
        await answering
    finally:
        for task in (answering, leaving):
            task.cancel()
        with suppress(asyncio.CancelledError, ConnectionError):
            await answering
        with suppress(asyncio.CancelledError, ConnectionError):
            await leaving
    return request.fields.get("connection", "").lower() != "close"


async def _handle(handler: Handler, request: Request, answer: Answer) -> None:
    try:
        await handler(request, answer)
    except Refusal as refusal:
        await answer.refuse(refusal)
    await answer.end()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise Refusal("the header is too long", status=431, code="header_too_long") from None
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    fields: dict[str, str] = {}
    for field in lines:
        name, colon, value = field.partition(":")
        if not colon or name.lower() in fields:
            raise Refusal("not a valid HTTP request: a header that is malformed, or there twice")
        fields[name.lower()] = value.strip()
    if line is None or "transfer-encoding" in fields:
        raise Refusal("not a valid HTTP request")
    length = fields.get("content-length", "0")
    if not (length.isascii() and length.isdecimal() and len(length) < 16):
        raise Refusal("not a valid HTTP request: Content-Length")
    if int(length) > BODY_LIMIT:
        raise Refusal(f"more than {BODY_LIMIT} bytes", status=413, code="request_too_large")
    body = await reader.readexactly(int(length))
    return Request(line[1], line[2].partition("?")[0], fields, body)

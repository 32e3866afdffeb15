"""Sends the bytes of a row, and says what is wrong with the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from tests.fakes.gateway import Answer, Client, read_chunks, read_head
from tests.fakes.odd_requests.row import Odd, family
from tests.waiting import DEADLINE_S


async def ask(client: Client, content: bytes) -> Answer:
    """The answer to these very bytes; `100 Continue` is passed over."""
    reader, writer = await client.connect()
    try:
        writer.write(content)
        async with asyncio.timeout(DEADLINE_S * 4):
            status, headers = await read_head(reader)
            while status == 100:
                status, headers = await read_head(reader)
            if content.startswith(b"HEAD") or status == 204:
                body = b""
            elif headers.get("transfer-encoding") == "chunked":
                body = b"".join([piece async for piece in read_chunks(reader)])
            elif "content-length" in headers:
                body = await reader.readexactly(int(headers["content-length"]))
            else:
                body = await reader.read()
            return Answer(status, headers, body)
    finally:
        writer.close()


def faults(odd: Odd, answer: Answer, status: int | None = None) -> Iterator[str]:
    """What is wrong with an answer; `status` where the model is of another kind than the row is for."""
    case = f"{odd.name}: {answer.status} {answer.body[:300]!r}"
    if answer.status != (status or odd.status):
        yield f"not {status or odd.status}: {case}"
        return
    if b"Traceback" in answer.body:
        yield case
    if answer.status < 400 or not answer.body:
        return
    if answer.headers.get("content-type") != "application/json":
        yield f"not JSON: {case}"
        return
    body = answer.json
    match family(odd.path):
        case "ollama":
            found, param = body["error"], None
            right = isinstance(found, str) and (status is not None or odd.code in found)
        case "anthropic":
            found, param = body["error"]["type"], None
            right = body["type"] == "error" and bool(body["error"]["message"])
            right = right and (status is not None or found == odd.code)
        case _:
            error = body["error"]
            found, param = error["code"], error["param"]
            right = bool(error["message"]) and (status is not None or (found, param) == (odd.code, odd.param))
            right = right and error["type"] == (
                "invalid_request_error" if answer.status < 500 else "server_error"
            )
    if not right:
        yield f"not {odd.code} {odd.param}: {case}"

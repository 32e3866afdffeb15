"""The image server on a real socket, with a painter that counts instead of computing."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent

from mrpack_runtime.image_server.line import Job, Left, Line, Painted, Preview
from mrpack_runtime.image_server.refusal import Refusal
from mrpack_runtime.image_server.service import Service
from mrpack_runtime.image_server.wire import serve_connection
from mrpack_runtime.image_server.wish import Wish
from mrpack_runtime.wire.endpoint import UnixEndpoint
from tests.fakes.gateway import DEADLINE_S, Answer, Client, read_head, request_bytes, until

GENERATE = "/v1/images/generations"
CANARY = "a prompt that no log may hold"


class CountingPainter:
    """Each step waits for `go`; an image is its seed. A prompt may name an error to raise."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.steps = 0
        self.began = threading.Event()

    def check(self, wish: Wish) -> None:
        if wish.size is not None and wish.size.width > 64:
            raise Refusal("size: too large", param="size")

    def paint(self, job: Job) -> None:
        if job.has_left:
            raise Left
        self.began.set()
        errors = {"value": ValueError("no such thing"), "bug": RuntimeError(CANARY), "memory": MemoryError()}
        if job.wish.prompt in errors:
            raise errors[job.wish.prompt]
        for index in range(job.wish.count):
            for step in range(1, job.wish.arguments.get("num_inference_steps", 2) + 1):
                self.go.acquire()
                self.steps += 1
                job.step(index, step, None)
                if step <= job.wish.partial_images:
                    job.report(Preview(index, step - 1, b"preview"))
            seed = job.wish.seed + index
            job.report(Painted(index, seed, 8, 8, str(seed).encode()))

    def let(self, steps: int) -> None:
        self.go.release(steps)


@asynccontextmanager
async def serving(folder: Path, limit: int = 1) -> AsyncIterator[tuple[Client, CountingPainter, Line]]:
    painter = CountingPainter()
    line = Line(painter.paint, limit, time.monotonic)
    service = Service(painter, line, model="localhost/tiny", defaults={"num_inference_steps": 2})
    path = folder / "s"

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_connection(service.handle, reader, writer)

    server = await asyncio.start_unix_server(connected, path)
    try:
        yield Client(UnixEndpoint(path)), painter, line
    finally:
        server.close()
        painter.let(10_000)
        await asyncio.to_thread(line.close, 10.0)


async def begin(client: Client, **fields: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await client.connect()
    writer.write(request_bytes("POST", GENERATE, json.dumps({"prompt": CANARY, **fields}).encode()))
    return reader, writer


def images(answer: Answer) -> list[bytes]:
    return [base64.b64decode(image["b64_json"]) for image in answer.json["data"]]


def test_images_have_seeds_that_count_up(short_folder: Path) -> None:
    async def main() -> None:
        async with serving(short_folder) as (client, painter, _):
            painter.let(100)
            answer = await client.post(GENERATE, {"prompt": "x", "n": 3, "seed": 5, "model": "any"})
            assert answer.status == 200
            assert images(answer) == [b"5", b"6", b"7"]
            assert [image["seed"] for image in answer.json["data"]] == [5, 6, 7]
            assert (answer.json["seed"], answer.json["size"]) == (5, "8x8")
            other = await client.post(GENERATE, {"prompt": "x"})
            assert images(other) == [str(other.json["seed"]).encode()]

    asyncio.run(main())


def test_a_stream_tells_steps_previews_and_the_image(short_folder: Path) -> None:
    async def main() -> None:
        async with serving(short_folder) as (client, painter, _):
            painter.let(100)
            body = {"prompt": "x", "seed": 1, "stream": True, "partial_images": 1}
            answer = await client.post(GENERATE, body)
            assert answer.headers["content-type"] == "text/event-stream"
            kinds = [event["type"].rpartition(".")[2] for event in answer.events]
            assert kinds == ["progress", "partial_image", "progress", "completed"]
            assert base64.b64decode(answer.events[-1]["b64_json"]) == b"1"
            assert answer.events[0]["step"] == 1
            ImageGenPartialImageEvent.model_validate(answer.events[1], strict=True)
            ImageGenCompletedEvent.model_validate(answer.events[-1], strict=True)

    asyncio.run(main())


def test_health_answers_while_an_image_is_painted(short_folder: Path) -> None:
    async def main() -> None:
        async with serving(short_folder) as (client, painter, _):
            _, writer = await begin(client)
            await until(painter.began.is_set)
            health = await client.get("/health")
            assert (health.status, health.json["painting"]) == (200, True)
            writer.close()

    asyncio.run(main())


def test_a_client_that_leaves_stops_its_image_within_a_step(short_folder: Path) -> None:
    async def main() -> None:
        async with serving(short_folder) as (client, painter, line):
            _, writer = await begin(client, steps=900)
            painter.let(3)
            await until(lambda: painter.steps == 3)
            writer.close()
            await until(lambda: line._current is None or line._current.has_left)
            painter.let(900)
            await until(lambda: line.counters.cancelled == 1)
            assert painter.steps == 4

    asyncio.run(main())


def test_a_client_that_leaves_the_line_is_never_painted(short_folder: Path) -> None:
    async def main() -> None:
        async with serving(short_folder) as (client, painter, line):
            _, first = await begin(client)
            await until(painter.began.is_set)
            _, second = await begin(client)
            await until(lambda: line.waiting == 1)
            second.close()
            await until(lambda: line.counters.cancelled == 1)
            painter.let(100)
            await until(lambda: line.counters.done == 1)
            assert painter.steps == 2
            first.close()

    asyncio.run(main())


def test_a_full_line_is_429_with_a_time(short_folder: Path) -> None:
    async def main() -> None:
        async with serving(short_folder, limit=1) as (client, painter, line):
            held = [await begin(client)]
            await until(painter.began.is_set)
            held.append(await begin(client))
            await until(lambda: line.waiting == 1)
            full = await client.post(GENERATE, {"prompt": "x"})
            assert (full.status, full.json["error"]["code"]) == (429, "queue_full")
            assert int(full.headers["retry-after"]) >= 1
            painter.let(100)
            for reader, _ in held:
                assert (await read_head(reader))[0] == 200
            for _, writer in held:
                writer.close()

    asyncio.run(main())


def test_errors_of_a_pipeline_reach_the_client_and_not_the_log(
    short_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with serving(short_folder) as (client, painter, _):
            for prompt, status in (("value", 400), ("bug", 500), ("memory", 503)):
                answer = await client.post(GENERATE, {"prompt": prompt})
                assert answer.status == status
                assert answer.json["error"]["message"]
            streamed = await client.post(GENERATE, {"prompt": "value", "stream": True})
            assert streamed.events[-1]["error"]["code"] == "pipeline_refused"
            painter.let(10)
            assert (await client.post(GENERATE, {"prompt": "x"})).status == 200

    asyncio.run(main())
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", b"", 404),
        ("GET", GENERATE, b"", 405),
        ("POST", GENERATE, b"{", 400),
        ("POST", GENERATE, b"[]", 400),
        ("POST", GENERATE, b'{"prompt": "x", "size": "128x8"}', 400),
        ("POST", GENERATE, b'{"prompt": "x", "trust_remote_code": true}', 400),
        ("POST", "/v1/images/edits", b'{"prompt": "x"}', 415),
    ],
)
def test_wrong_requests(short_folder: Path, method: str, path: str, body: bytes, status: int) -> None:
    async def main() -> None:
        async with serving(short_folder) as (client, painter, _):
            answer = await client.request(method, path, body)
            assert answer.status == status
            assert answer.json["error"]["type"] == "invalid_request_error"
            assert painter.steps == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: 1\r\nA: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * 100_000,
    ],
)
def test_what_is_not_http_is_refused_and_the_connection_closed(short_folder: Path, sent: bytes) -> None:
    async def main() -> None:
        async with serving(short_folder) as (client, _, _):
            reader, writer = await client.connect()
            writer.write(sent)
            async with asyncio.timeout(DEADLINE_S):
                head = await reader.readline()
                assert head.split()[1] in {b"400", b"413", b"431"}
                await reader.read()
            writer.close()
            assert (await client.get("/health")).status == 200

    asyncio.run(main())


def test_a_connection_serves_several_requests(short_folder: Path) -> None:
    async def main() -> None:
        async with serving(short_folder) as (client, _, _):
            reader, writer = await client.connect()
            for _ in range(3):
                writer.write(request_bytes("GET", "/health"))
                status, headers = await read_head(reader)
                assert status == 200
                await reader.readexactly(int(headers["content-length"]))
            writer.close()

    asyncio.run(main())


def test_metrics_count_what_was_done(short_folder: Path) -> None:
    async def main() -> None:
        async with serving(short_folder) as (client, painter, _):
            painter.let(10)
            await client.post(GENERATE, {"prompt": "x"})
            metrics = (await client.get("/metrics")).body.decode()
            assert "image_server_steps_total 2\n" in metrics
            assert 'image_server_requests_total{outcome="done"} 1\n' in metrics

    asyncio.run(main())

"""`/engines/requests`: refused unless `--log-prompts` was said, then the last exchanges of each model."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from mrpack_runtime.gateway.inspector import Inspector
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import CHAT, gateway, read_chunks, read_head, request_bytes, until

REQUESTS = "/engines/requests"
NAME = "localhost/fake:latest"


def test_nothing_is_kept_unless_it_is_wanted(short_folder: Path) -> None:
    async def main() -> None:
        async with gateway(short_folder) as g:
            await g.client.chat()
            answer = await g.client.get(REQUESTS)
            assert answer.status == 501
            assert "--log-prompts" in answer.json["error"]["message"]

    asyncio.run(main())


def test_exchanges_are_shown_by_model(short_folder: Path) -> None:
    async def main() -> None:
        names = ("localhost/a:latest", "localhost/b:latest")
        async with gateway(short_folder, models=names, log_prompts=True) as g:
            assert (await g.client.get(REQUESTS)).json == []
            await g.client.post(
                CHAT,
                {"model": "a", "messages": [{"role": "user", "content": "echo sk-abcdefghijklmnop"}]},
                {"User-Agent": "me/1", "X-Request-Id": "mine"},
            )
            await g.client.chat("b")
            first, second = (await g.client.get(REQUESTS)).json
            assert (first["count"], first["model"], second["model"]) == (1, *names)
            (record,) = first["records"]
            assert (record["id"], record["method"], record["url"]) == ("mine", "POST", CHAT)
            assert (record["status_code"], record["user_agent"]) == (200, "me/1")
            assert "[masked]" in json.loads(record["request"])["messages"][0]["content"]
            assert "[masked]" in json.loads(record["response"])["choices"][0]["message"]["content"]
            (only,) = (await g.client.get(f"{REQUESTS}?model=b")).json
            assert only["model"] == "localhost/b:latest"
            assert (await g.client.get(f"{REQUESTS}?model=nobody")).status == 404

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["server-error", "garbage"])
def test_what_failed_is_kept_as_an_error(short_folder: Path, mode: str) -> None:
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(mode=mode), log_prompts=True) as g:
            answer = await g.client.chat()
            ((record,),) = [found["records"] for found in (await g.client.get(REQUESTS)).json]
            assert record["status_code"] == answer.status >= 500
            assert "error" in record
            assert "response" not in record

    asyncio.run(main())


def test_requests_for_tokens_are_kept_too(short_folder: Path) -> None:
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(name="llama.cpp"), log_prompts=True) as g:
            await g.client.post("/v1/tokenize", {"model": "fake", "prompt": "one"})
            await g.client.post("/v1/detokenize", {"model": "fake", "tokens": [65]})
            messages = [{"role": "user", "content": "two"}]
            counted = await g.client.post(
                "/v1/messages/count_tokens", {"model": "fake", "messages": messages}
            )
            assert counted.headers["x-request-id"]
            (found,) = (await g.client.get(REQUESTS)).json
            assert [record["url"].rpartition("/")[2] for record in found["records"]] == [
                *("tokenize", "detokenize", "count_tokens", "count_tokens")  # first the template, then tokens
            ]
            assert "one" in found["records"][0]["request"]
            assert "tokens" in found["records"][-1]["response"]

    asyncio.run(main())


def test_no_more_than_the_last_ten_of_the_last_models_are_kept() -> None:
    inspector = Inspector()
    for model in range(100):
        for number in range(12):
            inspector.keep({"model": f"m{model}", "id": str(number)})
    kept = inspector.kept()
    assert [found["model"] for found in kept] == [f"m{model}" for model in range(36, 100)]
    assert (kept[0]["count"], [record["id"] for record in kept[0]["records"]]) == (
        12,
        [str(number) for number in range(2, 12)],
    )


def test_they_can_be_followed(short_folder: Path) -> None:
    async def main() -> None:
        async with gateway(short_folder, log_prompts=True) as g:
            await g.client.chat(prompt="echo before")
            reader, writer = await g.client.connect()
            path = f"{REQUESTS}?include_existing"
            writer.write(request_bytes("GET", path, headers={"Accept": "text/event-stream"}))
            status, headers = await read_head(reader)
            assert (status, headers["content-type"]) == (200, "text/event-stream")
            events: list[tuple[str, str]] = []

            async def read() -> None:
                async for piece in read_chunks(reader):
                    name, data = piece.decode().strip().split("\n")
                    events.append((name, data))

            reading = asyncio.create_task(read())
            await until(lambda: len(events) == 2)
            await g.client.chat(prompt="echo after")
            await until(lambda: len(events) == 3)
            assert [name for name, _ in events] == [
                *("event: connected", "event: existing_request", "event: new_request")
            ]
            for (_, data), word in zip(events[1:], ("before", "after"), strict=True):
                (found,) = json.loads(data.removeprefix("data: "))
                assert found["model"] == NAME
                assert word in found["records"][0]["request"]
            reading.cancel()
            writer.close()

    asyncio.run(main())

"""Real llama.cpp behind the gateway, asked by OpenAI's own client and by `mrpack` itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest

from mrpack_runtime.engines import engines
from mrpack_runtime.wire.endpoint import TcpEndpoint
from mrpack_runtime.wire.upstream import Upstream
from tests.demands import demand
from tests.fakes.gateway import HOST, Running, gateway, until
from tests.fakes.tiny_gguf import ANSWER, write_markov
from tests.processes import is_alive
from tests.program import Mrpack
from tests.waiting import until as wait_until

pytestmark = pytest.mark.engine

NAME = "localhost/tiny:latest"
QUESTION = [{"role": "user", "content": "Who are you?"}]


@asynccontextmanager
async def llama(folder: Path, **options: object) -> AsyncIterator[tuple[Running, openai.AsyncOpenAI]]:
    engine = engines()["llama.cpp"]
    demand("" if engine.installations(HOST) else "llama.cpp is not installed")
    async with gateway(folder, engine, models=(), settings='{"context_size": 512}') as g:
        g.library.add(NAME, write_markov(folder).read_bytes())
        endpoint = g.client.endpoint
        assert isinstance(endpoint, TcpEndpoint)
        url = f"http://127.0.0.1:{endpoint.port}/engines/llama.cpp/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
            yield g, client


def test_openai_client_chats_completes_and_lists(short_folder: Path) -> None:
    async def main() -> None:
        async with llama(short_folder) as (_, client):
            chat = await client.chat.completions.create(model="tiny", messages=QUESTION)
            assert chat.choices[0].message.content.strip() == ANSWER.strip()
            assert chat.choices[0].finish_reason == "stop"
            assert chat.model == NAME
            assert chat.usage.completion_tokens > 0
            text = await client.completions.create(model=NAME, prompt="Who are you?", max_tokens=4)
            assert text.usage.completion_tokens == 4
            assert text.model == NAME
            assert [model.id async for model in client.models.list()] == [NAME]
            assert (await client.models.retrieve(NAME)).id == NAME

    asyncio.run(main())


def test_openai_client_streams_with_usage(short_folder: Path) -> None:
    async def main() -> None:
        async with llama(short_folder) as (_, client):
            stream = await client.chat.completions.create(
                model="tiny", messages=QUESTION, stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert text.strip() == ANSWER.strip()
            assert chunks[-1].usage.completion_tokens > 0
            assert {chunk.model for chunk in chunks} == {NAME}

    asyncio.run(main())


def test_openai_client_gets_embeddings(short_folder: Path) -> None:
    async def main() -> None:
        async with llama(short_folder) as (_, client):
            found = await client.embeddings.create(
                model="tiny", input=["one", "two"], encoding_format="float"
            )
            assert [len(row.embedding) for row in found.data] == [64, 64]
            assert found.model == NAME

    asyncio.run(main())


def test_openai_client_gets_its_own_errors(short_folder: Path) -> None:
    async def main() -> None:
        async with llama(short_folder) as (_, client):
            with pytest.raises(openai.NotFoundError) as missing:
                await client.chat.completions.create(model="nope", messages=QUESTION)
            assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
            long = [{"role": "user", "content": "word " * 3000}]
            with pytest.raises(openai.BadRequestError) as full:
                await client.chat.completions.create(model="tiny", messages=long)
            assert full.value.type == "exceed_context_size_error"
            assert full.value.code == "context_length_exceeded"
            with pytest.raises(openai.BadRequestError):
                await client.chat.completions.create(model="tiny", messages="nonsense")
            with pytest.raises(openai.BadRequestError):
                await client.chat.completions.create(
                    model="tiny",
                    messages=[
                        {
                            "role": "user",
                            "content": [
                                {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}
                            ],
                        }
                    ],
                )

    asyncio.run(main())


def test_a_client_that_leaves_frees_the_slot_of_llama_cpp(short_folder: Path) -> None:
    async def main() -> None:
        async with llama(short_folder) as (g, client):
            stream = await client.chat.completions.create(
                model="tiny",
                messages=QUESTION,
                stream=True,
                max_tokens=1_000_000,
                extra_body={"ignore_eos": True, "n_predict": 1_000_000},
            )
            await anext(aiter(stream))
            await stream.close()
            await until(lambda: is_idle(g))

    asyncio.run(main())


async def is_idle(g: Running) -> bool:
    """In the gateway's eyes, and in llama.cpp's own."""
    launch = g.pool.snapshot()[0].launch
    assert launch is not None
    upstream = Upstream(launch.endpoint)
    try:
        answer = await upstream.get("/slots")
        slots = json.loads(await answer.read_all(1 << 20))
        busy = [snapshot for snapshot in g.pool.snapshot() if snapshot.busy]
        return not busy and not any(slot["is_processing"] for slot in slots)
    finally:
        upstream.close()


def test_a_broken_model_is_an_engine_failure_with_its_words(short_folder: Path) -> None:
    async def main() -> None:
        async with llama(short_folder) as (g, client):
            whole = write_markov(short_folder).read_bytes()
            g.library.add("localhost/cut:latest", whole[:-1000])
            with pytest.raises(openai.APIStatusError) as caught:
                await client.chat.completions.create(model="cut", messages=QUESTION)
            assert caught.value.status_code in {422, 502}
            assert caught.value.body["message"]

    asyncio.run(main())


def test_a_gateway_that_is_killed_leaves_no_llama_cpp(mrpack: Mrpack, tiny_model: Path) -> None:
    mrpack("package", "--gguf", tiny_model, "tiny")
    process = mrpack.start("serve", "tiny", "--port", "0", "--threads", "1")
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip().rpartition(":")[2]
        answer = mrpack("run", "--port", port, "tiny", "Who are you?").out
        assert answer.strip() == ANSWER.strip()
        (entry,) = mrpack("ps", "--port", port, "--json").json
        process.kill()
        wait_until(lambda: not is_alive(entry["pid"]), "the end of the engine")
    finally:
        process.kill()
        process.communicate()

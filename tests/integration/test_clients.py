"""Real llama.cpp behind the gateway, asked by the official clients of OpenAI, Anthropic and Ollama."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest

from mrpack_runtime.engines import engines
from mrpack_runtime.wire.endpoint import TcpEndpoint
from tests.demands import demand
from tests.fakes.gateway import HOST, Running, gateway, until
from tests.fakes.public_models import SMOLLM2, public_model
from tests.fakes.tiny_gguf import ANSWER, write_markov, write_tool_caller

pytestmark = pytest.mark.engine

NAME = "localhost/tiny:latest"
QUESTION: list[Any] = [{"role": "user", "content": "Who are you?"}]


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Running, str]]:
    """One model, which always says the same."""
    engine = engines()["llama.cpp"]
    demand("" if engine.installations(HOST) else "llama.cpp is not installed")
    async with gateway(folder, engine, models=(), settings='{"context_size": 2048}') as g:
        g.library.add(NAME, write_markov(folder).read_bytes())
        assert isinstance(g.client.endpoint, TcpEndpoint)
        yield g, f"http://127.0.0.1:{g.client.endpoint.port}"


def test_anthropic_client(short_folder: Path) -> None:
    async def main() -> None:
        async with (
            serving(short_folder) as (_, url),
            anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0, timeout=60) as client,
        ):
            message = await client.messages.create(model="tiny", max_tokens=100, messages=QUESTION)
            assert message.content[0].text.strip() == ANSWER.strip()
            assert (message.model, message.stop_reason) == (NAME, "end_turn")
            counted = await client.messages.count_tokens(model="tiny", messages=QUESTION)
            # Of a prompt that was read before, a part is told as read from the cache.
            usage = message.usage
            assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)
            async with client.messages.stream(model="tiny", max_tokens=4, messages=QUESTION) as stream:
                events = [event async for event in stream]
                final = await stream.get_final_message()
            begun = events[0].message.usage
            assert begun.input_tokens + (begun.cache_read_input_tokens or 0) == counted.input_tokens
            text = "".join(event.text for event in events if event.type == "text")
            assert ANSWER.strip().startswith(text.strip())
            assert (final.stop_reason, final.usage.output_tokens) == ("max_tokens", 4)
            with pytest.raises(anthropic.BadRequestError):
                await client.messages.create(
                    model="tiny", max_tokens=4, messages=[{"role": "user", "content": "word " * 9000}]
                )

    asyncio.run(main())


def test_tokens_are_counted_before_as_they_are_used(short_folder: Path) -> None:
    tool: Any = {"name": "weather", "description": "of a city", "input_schema": {"type": "object"}}
    call: Any = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}}
    result: Any = {"type": "tool_result", "tool_use_id": "t1", "content": "12 degrees"}
    talk: list[Any] = [
        *QUESTION,
        {"role": "assistant", "content": [{"type": "text", "text": "I look."}, call]},
        {"role": "user", "content": [result, {"type": "text", "text": "And?"}]},
    ]

    async def main() -> None:
        async with (
            serving(short_folder) as (g, url),
            anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0, timeout=60) as client,
        ):
            g.library.add("localhost/caller:latest", write_tool_caller(short_folder).read_bytes())
            for choice in ("auto", "any", "none"):
                asked: Any = {"model": "caller", "system": "Be brief.", "messages": talk, "tools": [tool]}
                asked["tool_choice"] = {"type": choice}
                counted = await client.messages.count_tokens(**asked)
                usage = (await client.messages.create(max_tokens=40, **asked)).usage
                assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == counted.input_tokens

    asyncio.run(main())


def test_openai_client_with_responses(short_folder: Path) -> None:
    async def main() -> None:
        async with (
            serving(short_folder) as (_, url),
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client,
        ):
            response = await client.responses.create(model="tiny", input="Who are you?")
            assert response.output_text.strip() == ANSWER.strip()
            async with client.responses.stream(
                model="tiny", input="And you?", previous_response_id=response.id
            ) as stream:
                async for _ in stream:
                    pass
                final = await stream.get_final_response()
            assert final.output_text.strip() == ANSWER.strip()
            assert final.usage.input_tokens > response.usage.input_tokens

    asyncio.run(main())


def test_ollama_client(short_folder: Path) -> None:
    async def main() -> None:
        async with serving(short_folder) as (_, url):
            client = ollama.AsyncClient(host=url, timeout=60)
            answer = await client.chat("tiny", QUESTION)
            assert answer.message.content.strip() == ANSWER.strip()
            assert answer.eval_count > 0
            assert answer.eval_duration > 0
            lines = [line async for line in await client.generate("tiny", "Who are you?", stream=True)]
            assert "".join(line.response for line in lines).strip() == ANSWER.strip()
            raw = await client.generate("tiny", "Who are you?", raw=True, options={"num_predict": 3})
            assert (raw.eval_count, raw.done_reason) == (3, "length")
            vectors = await client.embed("tiny", ["one", "two"])
            assert [len(row) for row in vectors.embeddings] == [64, 64]
            await client._client.aclose()

    asyncio.run(main())


def test_tokens_and_metrics_of_llama_cpp(short_folder: Path) -> None:
    async def main() -> None:
        async with serving(short_folder) as (g, _):
            found = (await g.client.post("/v1/tokenize", {"model": "tiny", "prompt": "Who are you?"})).json
            assert found["count"] == len(found["tokens"]) > 0
            again = await g.client.post("/v1/detokenize", {"model": "tiny", "tokens": found["tokens"]})
            assert "Who are you?" in again.json["prompt"]
            chat = (await g.client.post("/v1/tokenize", {"model": "tiny", "messages": QUESTION})).json
            assert chat["count"] > 0
            shown = (await g.client.post("/v1/apply-template", {"model": "tiny", "messages": QUESTION})).json
            assert QUESTION[0]["content"] in shown["prompt"]

            async def says(number: str) -> bool:
                """An engine that does not answer at once is left out."""
                return number in (await g.client.get("/metrics")).body.decode()

            whole = f'mrpack_engines{{model="{NAME}",engine="llama.cpp",mode="completion",phase="ready"}} 1'
            assert await says(whole)
            await until(lambda: says(f'backend="llama.cpp",model="{NAME}"'))

    asyncio.run(main())


@pytest.mark.slow
def test_a_real_model_answers_by_schema_in_every_protocol(short_folder: Path) -> None:
    path = public_model(SMOLLM2)
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    }
    question: list[Any] = [{"role": "user", "content": "The capital of France, as JSON with the key city"}]

    async def main() -> None:
        async with serving(short_folder) as (g, url):
            g.library.add("localhost/smollm2:latest", path.read_bytes())
            async with (
                openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", timeout=120) as open_ai,
                anthropic.AsyncAnthropic(base_url=url, api_key="none", timeout=120) as claude,
            ):
                response = await open_ai.responses.create(
                    model="smollm2",
                    input=question,
                    max_output_tokens=40,
                    temperature=0,
                    text={"format": {"type": "json_schema", "name": "place", "schema": schema}},
                )
                message = await claude.messages.create(
                    model="smollm2",
                    max_tokens=40,
                    messages=question,
                    extra_body={
                        "temperature": 0,
                        "output_config": {"format": {"type": "json_schema", "schema": schema}},
                    },
                )
            client = ollama.AsyncClient(host=url, timeout=120)
            chat = await client.chat(
                "smollm2", question, format=schema, options={"temperature": 0, "num_predict": 40}
            )
            await client._client.aclose()
            texts = [response.output_text, message.content[0].text, chat.message.content]
            assert [list(json.loads(text)) for text in texts] == [["city"]] * 3

    asyncio.run(main())

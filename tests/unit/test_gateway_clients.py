"""The gateway as the official clients of OpenAI, Anthropic and Ollama see it, before a fake engine."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest

from mrpack_runtime.gateway.guard import Policy
from mrpack_runtime.wire.endpoint import TcpEndpoint
from tests.fakes.engine import PIXEL, TEXT
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import Answer, Running, gateway, read_chunks, read_head, request_bytes, until

NAME = "localhost/fake:latest"
QUESTION: list[Any] = [{"role": "user", "content": "hi"}]
CALLS = {"tools": [{"name": "f", "arguments": '{"x": 1}'}, {"name": "g", "arguments": "{}"}]}


@asynccontextmanager
async def serving(folder: Path, **options: Any) -> AsyncIterator[tuple[Running, str]]:
    async with gateway(folder, FakeEngine(name="llama.cpp"), **options) as g:
        assert isinstance(g.client.endpoint, TcpEndpoint)
        yield g, f"http://127.0.0.1:{g.client.endpoint.port}"


@asynccontextmanager
async def claude(folder: Path) -> AsyncIterator[tuple[Running, anthropic.AsyncAnthropic]]:
    async with (
        serving(folder) as (g, url),
        anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0, timeout=30) as client,
    ):
        yield g, client


@asynccontextmanager
async def open_ai(folder: Path, prefix: str = "/v1") -> AsyncIterator[tuple[Running, openai.AsyncOpenAI]]:
    async with (
        serving(folder) as (g, url),
        openai.AsyncOpenAI(base_url=url + prefix, api_key="none", max_retries=0, timeout=30) as client,
    ):
        yield g, client


@asynccontextmanager
async def llama(folder: Path) -> AsyncIterator[tuple[Running, ollama.AsyncClient]]:
    async with serving(folder) as (g, url):
        client = ollama.AsyncClient(host=url, timeout=30)
        try:
            yield g, client
        finally:
            await client._client.aclose()


# ---- Anthropic


def test_anthropic_client_gets_a_message(short_folder):
    async def main() -> None:
        async with claude(short_folder) as (g, client):
            message = await client.messages.create(
                model="fake", max_tokens=20, messages=QUESTION, system="Be brief.", stop_sequences=["END"]
            )
            assert message.content[0].text == TEXT
            assert (message.model, message.stop_reason) == (NAME, "end_turn")
            assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 5)
            (seen,) = await g.engine_requests()
            assert seen["path"] == "/v1/chat/completions"
            assert seen["body"]["messages"][0] == {"role": "system", "content": "Be brief."}
            assert (seen["body"]["max_tokens"], seen["body"]["stop"]) == (20, ["END"])

    asyncio.run(main())


def test_anthropic_client_streams_thoughts_text_and_tools(short_folder):
    async def main() -> None:
        async with claude(short_folder) as (_, client):
            async with client.messages.stream(
                model="fake",
                max_tokens=20,
                messages=QUESTION,
                tools=[{"name": "f", "input_schema": {"type": "object"}}],
                extra_body={"fake": {**CALLS, "thoughts": "hm"}},
            ) as stream:
                events = [event async for event in stream]
                message = await stream.get_final_message()
            assert "".join(event.text for event in events if event.type == "text") == TEXT
            assert (events[0].type, events[0].message.usage.input_tokens) == ("message_start", 3)
            assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
            assert [block.input for block in message.content if block.type == "tool_use"] == [{"x": 1}, {}]
            assert message.stop_reason == "tool_use"
            assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 5)

    asyncio.run(main())


def test_anthropic_client_counts_tokens(short_folder):
    async def main() -> None:
        async with claude(short_folder) as (_, client):
            found = await client.messages.count_tokens(model="fake", messages=QUESTION)
            assert found.input_tokens == len("<user>hi")

    asyncio.run(main())


def test_anthropic_client_lists_models(short_folder):
    async def main() -> None:
        async with serving(short_folder) as (_, url):
            for base in (url, f"{url}/anthropic"):
                async with anthropic.AsyncAnthropic(base_url=base, api_key="none", max_retries=0) as client:
                    (model,) = [model async for model in client.models.list()]
                    assert (model.id, model.type, model.display_name) == (NAME, "model", NAME)
                    assert model.created_at.year == 2023
                    assert (await client.models.retrieve("fake")).id == NAME

    asyncio.run(main())


def test_anthropic_client_gets_its_own_errors(short_folder):
    async def main() -> None:
        async with claude(short_folder) as (_, client):
            with pytest.raises(anthropic.NotFoundError) as missing:
                await client.messages.create(model="nope", max_tokens=1, messages=QUESTION)
            assert missing.value.body["error"]["type"] == "not_found_error"
            with pytest.raises(anthropic.BadRequestError) as wrong:
                await client.messages.create(model="fake", max_tokens=0, messages=QUESTION)
            assert "max_tokens" in wrong.value.body["error"]["message"]

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["die-mid-stream", "cut-stream"])
def test_anthropic_client_is_told_that_the_engine_broke_off(short_folder, mode):
    async def main() -> None:
        async with claude(short_folder) as (g, client):
            g.engine.mode = mode
            with pytest.raises(anthropic.APIStatusError) as broken:
                async with client.messages.stream(model="fake", max_tokens=20, messages=QUESTION) as stream:
                    await stream.get_final_message()
            assert broken.value.body["error"]["type"] == "api_error"

    asyncio.run(main())


# ---- OpenAI's chat


TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in "fgh"
]


@pytest.mark.parametrize(
    ("choice", "names", "word"),
    [
        ("auto", "fgh", "auto"),
        ({"type": "function", "function": {"name": "g"}}, "g", "required"),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOLS[2], TOOLS[0]]}},
            "hf",
            "required",
        ),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TOOLS[1]]}}, "g", "auto"),
    ],
)
def test_openai_client_chooses_tools(short_folder, choice, names, word):
    async def main() -> None:
        async with open_ai(short_folder) as (g, client):
            await client.chat.completions.create(
                model="fake", messages=QUESTION, tools=TOOLS, tool_choice=choice
            )
            (request,) = await g.engine_requests()
            seen = request["body"]
            assert [tool["function"]["name"] for tool in seen["tools"]] == list(names)
            assert seen["tool_choice"] == word

    asyncio.run(main())


@pytest.mark.parametrize(
    ("choice", "status"),
    [
        ({"type": "function", "function": {"name": "x"}}, 400),
        ({"type": "function", "name": "f"}, 400),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function"}]}}, 400),
        ({}, 400),
        ({"type": "custom", "custom": {"name": "f"}}, 501),
    ],
)
def test_tools_that_cannot_be_chosen_are_refused(short_folder, choice, status):
    async def main() -> None:
        async with serving(short_folder) as (g, _):
            answer = await g.client.chat(tools=TOOLS, tool_choice=choice)
            assert answer.status == status
            assert "tool_choice" in answer.json["error"]["message"] + str(answer.json["error"]["param"])

    asyncio.run(main())


def refused_requests(numbers: Answer) -> list[str]:
    lines = numbers.body.decode().splitlines()
    return [line for line in lines if line.startswith("mrpack_requests_total") and 'status="501"' in line]


def test_openai_client_does_not_ask_again_for_what_cannot_be_done(short_folder):
    async def main() -> None:
        async with serving(short_folder) as (g, url):
            async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=2) as client:
                with pytest.raises(openai.InternalServerError):
                    await client.responses.create(model="fake", input="x", background=True)
            (counted,) = refused_requests(await g.client.get("/metrics"))
            assert counted.endswith(" 1")

    asyncio.run(main())


def test_anthropic_client_does_not_ask_again_for_what_cannot_be_done(short_folder):
    async def main() -> None:
        async with serving(short_folder) as (g, url):
            body: Any = {"model": "fake", "max_tokens": 1, "messages": QUESTION}
            async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=2) as client:
                with pytest.raises(anthropic.APIStatusError):
                    await client.messages.create(**body, extra_body={"mcp_servers": [{"url": "x"}]})
            (counted,) = refused_requests(await g.client.get("/metrics"))
            assert counted.endswith(" 1")

    asyncio.run(main())


# ---- Responses


@pytest.mark.parametrize("prefix", ["/v1", "/engines/v1", "/engines/llama.cpp/v1", "/engines", ""])
def test_openai_client_gets_a_response(short_folder, prefix):
    async def main() -> None:
        async with open_ai(short_folder, prefix) as (_, client):
            response = await client.responses.create(model="fake", input="hi")
            assert response.output_text == TEXT
            assert (response.status, response.model) == ("completed", NAME)
            assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 5)
            again = await client.responses.retrieve(response.id)
            assert again.output_text == TEXT
            items = await client.responses.input_items.list(response.id)
            assert items.data[0].content[0].text == "hi"
            await client.responses.delete(response.id)
            with pytest.raises(openai.NotFoundError):
                await client.responses.retrieve(response.id)

    asyncio.run(main())


def test_openai_client_pages_through_what_was_asked(short_folder):
    async def main() -> None:
        async with open_ai(short_folder) as (_, client):
            texts = [f"question {number}" for number in range(5)]
            asked: list[Any] = [{"role": "user", "content": text} for text in texts]
            response = await client.responses.create(model="fake", input=asked)
            pages = client.responses.input_items.list(response.id, order="asc", limit=2)
            assert [item.content async for item in pages] == texts
            with pytest.raises(openai.BadRequestError):
                await client.responses.input_items.list(response.id, limit=0)
            with pytest.raises(openai.NotFoundError):
                await client.responses.input_items.list(response.id, after="nobody")

    asyncio.run(main())


def test_openai_client_counts_the_tokens_of_a_request(short_folder):
    async def main() -> None:
        async with open_ai(short_folder) as (_, client):
            found = await client.responses.input_tokens.count(model="fake", input="hi")
            assert (found.object, found.input_tokens) == ("response.input_tokens", len("<user>hi"))

    asyncio.run(main())


def test_openai_client_cannot_cancel_what_is_answered(short_folder):
    async def main() -> None:
        async with open_ai(short_folder) as (_, client):
            response = await client.responses.create(model="fake", input="hi")
            with pytest.raises(openai.BadRequestError, match="background"):
                await client.responses.cancel(response.id)
            with pytest.raises(openai.NotFoundError):
                await client.responses.cancel("resp_0")

    asyncio.run(main())


def test_openai_client_streams_a_response_and_goes_on_from_it(short_folder):
    async def main() -> None:
        async with open_ai(short_folder) as (g, client):
            tools: list[Any] = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
            async with client.responses.stream(
                model="fake", input="hi", tools=tools, extra_body={"fake": CALLS}
            ) as stream:
                events = [event async for event in stream]
                response = await stream.get_final_response()
            assert [event.sequence_number for event in events if hasattr(event, "sequence_number")]
            assert response.output_text == TEXT
            calls = [item for item in response.output if item.type == "function_call"]
            assert [(call.name, call.arguments) for call in calls] == [("f", '{"x": 1}'), ("g", "{}")]
            outputs: list[Any] = [
                {"type": "function_call_output", "call_id": call.call_id, "output": "42"} for call in calls
            ]
            await client.responses.create(model="fake", input=outputs, previous_response_id=response.id)
            seen = (await g.engine_requests())[-1]["body"]["messages"]
            assert [message["role"] for message in seen] == ["user", "assistant", "tool", "tool"]
            assert [call["id"] for call in seen[1]["tool_calls"]] == [call.call_id for call in calls]

    asyncio.run(main())


def test_a_response_that_is_not_stored_cannot_be_gone_on_from(short_folder):
    async def main() -> None:
        async with open_ai(short_folder) as (_, client):
            response = await client.responses.create(model="fake", input="hi", store=False)
            with pytest.raises(openai.BadRequestError) as caught:
                await client.responses.create(model="fake", input="x", previous_response_id=response.id)
            assert caught.value.code == "previous_response_not_found"
            assert caught.value.param == "previous_response_id"

    asyncio.run(main())


def test_openai_client_sees_a_response_fail(short_folder):
    async def main() -> None:
        async with open_ai(short_folder) as (g, client):
            g.engine.mode = "cut-stream"
            stream = await client.responses.create(model="fake", input="hi", stream=True)
            events = [event async for event in stream]
            assert events[-1].type == "response.failed"
            assert events[-1].response.error.code == "server_error"

    asyncio.run(main())


# ---- Ollama


def test_ollama_client_chats(short_folder):
    async def main() -> None:
        async with llama(short_folder) as (g, client):
            answer = await client.chat(
                "fake",
                [{"role": "user", "content": "look", "images": [base64.b64decode(PIXEL)]}],
                options={"num_predict": 7, "temperature": 0.5, "num_ctx": 4096},
                format="json",
                think=True,
                keep_alive="1h",
            )
            assert answer.message.content == TEXT
            assert (answer.model, answer.done, answer.done_reason) == (NAME, True, "stop")
            assert (answer.prompt_eval_count, answer.eval_count) == (3, 5)
            assert answer.total_duration > answer.load_duration > 0
            body = (await g.engine_requests())[0]["body"]
            assert (body["max_tokens"], body["temperature"]) == (7, 0.5)
            assert body["response_format"] == {"type": "json_object"}
            assert body["chat_template_kwargs"] == {"enable_thinking": True}
            assert body["messages"][0]["content"][1]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
            (shot,) = g.pool.snapshot()
            assert shot.keep_alive_s == 3600

    asyncio.run(main())


def test_ollama_client_streams_a_chat_and_a_prompt(short_folder):
    async def main() -> None:
        async with llama(short_folder) as (_, client):
            lines = [line async for line in await client.chat("fake", QUESTION, stream=True)]
            assert "".join(line.message.content for line in lines) == TEXT
            assert [line.done for line in lines] == [False] * 5 + [True]
            lines = [
                line async for line in await client.generate("fake", "echo a b", stream=True, system="s")
            ]
            assert "".join(line.response for line in lines) == "a b"
            assert lines[-1].eval_count == 2
            raw = await client.generate("fake", "echo c", raw=True)
            assert raw.response == "c"

    asyncio.run(main())


def test_ollama_client_gets_whole_calls(short_folder):
    async def main() -> None:
        async with serving(short_folder) as (g, _):
            for stream in (False, True):
                body = {"model": "fake", "messages": QUESTION, "stream": stream, "fake": CALLS}
                answer = await g.client.post("/api/chat", body)
                lines = [ollama.ChatResponse.model_validate_json(line) for line in answer.body.splitlines()]
                calls = [call for line in lines for call in line.message.tool_calls or ()]
                assert [(call.function.name, call.function.arguments) for call in calls] == [
                    ("f", {"x": 1}),
                    ("g", {}),
                ]
                assert lines[-1].done

    asyncio.run(main())


def test_curl_needs_no_content_type_for_ollama_but_web_pages_do(short_folder):
    async def main() -> None:
        policy = Policy(origins=("http://localhost:*",))
        async with serving(short_folder, policy=policy) as (g, _):
            body = json.dumps({"model": "fake", "prompt": "hi", "stream": False}).encode()
            curl = {"Content-Type": "application/x-www-form-urlencoded"}
            page = {"Origin": "http://localhost:3000"}
            for headers, status in ((curl, 200), ({}, 200), (curl | page, 415), (page, 415)):
                assert (await g.client.request("POST", "/api/generate", body, headers)).status == status
            plain = {"Content-Type": "text/plain"}
            assert (await g.client.request("POST", "/api/generate", body, plain)).status == 415

    asyncio.run(main())


def test_clients_of_ollama_are_told_a_version_and_that_there_is_no_cloud(short_folder):
    async def main() -> None:
        async with serving(short_folder) as (g, _):
            version = (await g.client.get("/api/version")).json["version"]
            assert tuple(map(int, version.split("."))) >= (0, 14, 0)  # for Anthropic's messages
            assert (await g.client.get("/api/status")).json["cloud"]["disabled"] is True

    asyncio.run(main())


def test_ollama_client_gets_vectors(short_folder):
    async def main() -> None:
        async with llama(short_folder) as (_, client):
            found = await client.embed("fake", ["a", "bcd"])
            assert [list(row) for row in found.embeddings] == [[1.0, 1.0, 0.0], [3.0, 1.0, 0.0]]
            assert found.prompt_eval_count == 3
            one = await client.embeddings("fake", "ab")
            assert list(one.embedding) == [2.0, 1.0, 0.0]

    asyncio.run(main())


def test_ollama_client_loads_and_unloads(short_folder):
    async def main() -> None:
        async with llama(short_folder) as (g, client):
            loaded = await client.generate("fake")
            assert (loaded.done_reason, loaded.response) == ("load", "")
            (running,) = (await client.ps()).models
            assert running.name == NAME
            unloaded = await client.generate("fake", keep_alive=0)
            assert unloaded.done_reason == "unload"
            assert g.pool.snapshot() == ()

    asyncio.run(main())


def test_ollama_client_manages_models(short_folder):
    async def main() -> None:
        async with llama(short_folder) as (_, client):
            (model,) = (await client.list()).models
            assert model.model == NAME
            assert len(model.digest) == 64
            assert (await client.show("fake")).capabilities == ["completion", "tools"]
            assert (await client.pull("localhost/new:latest")).status == "success"
            progress = [line async for line in await client.pull("localhost/newer:latest", stream=True)]
            assert progress[-1].status == "success"
            assert any(line.completed for line in progress)
            await client.copy("newer", "localhost/copy:latest")
            await client.delete("localhost/copy:latest")
            assert {model.model for model in (await client.list()).models} == {
                NAME,
                "localhost/new:latest",
                "localhost/newer:latest",
            }

    asyncio.run(main())


def test_ollama_client_gets_its_own_errors(short_folder):
    async def main() -> None:
        async with llama(short_folder) as (_, client):
            with pytest.raises(ollama.ResponseError) as missing:
                await client.chat("nope", QUESTION)
            assert (missing.value.status_code, "nope" in missing.value.error) == (404, True)
            with pytest.raises(ollama.ResponseError) as gone:
                await client.pull("localhost/gone:latest")
            assert gone.value.status_code == 404
            with pytest.raises(ollama.ResponseError) as broken:
                async for _ in await client.pull("localhost/broken:latest", stream=True):
                    pass
            assert "broke off" in broken.value.error
            with pytest.raises(ollama.ResponseError) as create:
                await client.create("x", from_="fake")
            assert create.value.status_code == 501
            await client.chat("fake", QUESTION)
            with pytest.raises(ollama.ResponseError) as running:
                await client.delete("fake")
            assert running.value.status_code == 409

    asyncio.run(main())


# ---- all of them


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"max_tokens": 9, "messages": QUESTION}),
        ("/v1/responses", {"input": "hi"}),
        ("/api/chat", {"messages": QUESTION}),
        ("/api/generate", {"prompt": "hi"}),
    ],
)
def test_a_client_that_leaves_stops_the_engine_in_every_protocol(short_folder, path, body):
    async def main() -> None:
        async with serving(short_folder) as (g, _):
            reader, writer = await g.client.connect()
            asked = {**body, "model": "fake", "stream": True, "fake": {"chunks": 2000, "delay": 0.1}}
            content = json.dumps(asked).encode()
            writer.write(request_bytes("POST", path, content, {"Content-Type": "application/json"}))
            await read_head(reader)
            await anext(read_chunks(reader))
            assert (await g.engine_state())["open"] == 1
            writer.close()

            async def none_open() -> bool:
                return (await g.engine_state())["open"] == 0

            await until(none_open)
            assert all(shot.busy == 0 for shot in g.pool.snapshot())

    asyncio.run(main())

"""The gateway as the official clients of OpenAI, Anthropic and Ollama see it, before a fake engine."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import openai
import pytest

from tests.fakes.engine import TEXT
from tests.fakes.gateway import Answer, read_chunks, read_head, request_bytes, until
from tests.fakes.official_clients import CALLS, NAME, QUESTION, claude, open_ai, serving

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
            once = {"parallel_tool_calls": False} if (names, word) == ("g", "required") else {}
            assert {key: seen[key] for key in seen if key == "parallel_tool_calls"} == once

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
            function: Any = {"type": "function", "name": "f", "parameters": {"type": "object"}}
            allowed: Any = {"type": "allowed_tools", "mode": "auto", "tools": [function]}
            same = await client.responses.input_tokens.count(
                model="fake", input="hi", tools=[function], tool_choice=allowed
            )
            assert same.input_tokens == found.input_tokens

    asyncio.run(main())


def test_openai_client_cannot_cancel_what_is_answered(short_folder):
    async def main() -> None:
        async with open_ai(short_folder) as (_, client):
            response = await client.responses.create(model="fake", input="hi")
            with pytest.raises(openai.BadRequestError, match="background"):
                await client.responses.cancel(response.id)
            with pytest.raises(openai.NotFoundError):
                await client.responses.cancel("resp_0")
            with pytest.raises(openai.InternalServerError, match="not compacted here"):
                await client.responses.compact(model="fake", previous_response_id=response.id)

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
            await until(lambda: all(shot.busy == 0 for shot in g.pool.snapshot()))

    asyncio.run(main())

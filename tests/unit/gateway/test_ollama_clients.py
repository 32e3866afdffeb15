"""Ollama's own client, and curl, against a gateway with a fake engine behind it."""

from __future__ import annotations

import asyncio
import base64
import json

import ollama
import pytest

from mrpack_runtime.gateway.guard import Policy
from tests.fakes.engine import PIXEL, TEXT
from tests.fakes.official_clients import CALLS, NAME, QUESTION, llama, serving


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

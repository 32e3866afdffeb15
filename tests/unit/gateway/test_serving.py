"""Requests and answers through a gateway with a fake engine behind it."""

from __future__ import annotations

import asyncio

import pytest

from mrpack_runtime.engine import Operation
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import CHAT, chat_body, gateway
from tests.waiting import DEADLINE_S


def test_a_chat_is_answered_under_the_public_name(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            for name in ("localhost/fake:latest", "fake", str(g.library.find("fake").digest)):
                answer = await g.client.chat(name)
                assert answer.status == 200
                assert answer.headers["content-type"] == "application/json"
                assert answer.json["model"] == "localhost/fake:latest"
                assert answer.json["choices"][0]["message"]["content"] == "Hello from a fake engine."
            assert len(g.engine.launches) == 1

    asyncio.run(main())


@pytest.mark.parametrize("prefix", ["/engines/fake/v1", "/engines/v1", "/v1"])
@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        ("/chat/completions", chat_body(), "choices"),
        ("/completions", {"model": "fake", "prompt": "echo back"}, "choices"),
        ("/embeddings", {"model": "fake", "input": ["a", "bc"]}, "data"),
    ],
)
def test_each_operation_has_three_paths(short_folder, prefix, path, body, key):
    async def main() -> None:
        async with gateway(short_folder) as g:
            answer = await g.client.post(prefix + path, body)
            assert answer.status == 200
            assert answer.json[key]
            assert answer.json["model"] == "localhost/fake:latest"

    asyncio.run(main())


def test_the_engine_sees_the_body_with_its_own_name_and_unknown_fields(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(arguments=("--alias", "inner"))) as g:
            body = chat_body("fake", "hällo \u2028 😀", top_k=3, x={"y": [1, None, 0.1]})
            answer = await g.client.post(CHAT, body, {"Authorization": "Bearer mine", "Cookie": "a=b"})
            assert answer.json["model"] == "localhost/fake:latest"
            seen = (await g.engine_requests())[0]
            assert seen["body"] == {**body, "model": "localhost/fake:latest"}
            assert seen["path"] == CHAT
            assert not {"authorization", "cookie"} & set(seen["headers"])

    asyncio.run(main())


def test_aliases_of_a_digest_share_an_engine_and_keep_their_names(short_folder):
    async def main() -> None:
        async with gateway(short_folder, models=()) as g:
            g.library.add("localhost/one:latest", b"GGUF same")
            g.library.add("localhost/two:latest", b"GGUF same")
            for name in ("localhost/one:latest", "localhost/two:latest"):
                assert (await g.client.chat(name)).json["model"] == name
                answer = await g.client.chat(name, stream=True)
                assert {event["model"] for event in answer.events[:-1]} == {name}
            assert len(g.engine.launches) == 1

    asyncio.run(main())


def test_a_tag_that_moves_is_followed(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            await g.client.chat("fake")
            newer = g.library.add("localhost/fake:latest", b"GGUF newer").digest
            async with asyncio.timeout(DEADLINE_S):
                while newer not in {snapshot.key.digest for snapshot in g.pool.snapshot()}:
                    assert (await g.client.chat("fake")).status == 200
                assert len(g.engine.launches) == 2
                g.library.remove("localhost/fake:latest")
                while (await g.client.chat("fake")).status != 404:
                    pass

    asyncio.run(main())


def test_an_answer_shows_nothing_of_the_engines_own_headers(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            for stream in (False, True):
                answer = await g.client.chat(stream=stream)
                assert answer.headers["server"] == "mrpack"
                assert "access-control-allow-origin" not in answer.headers
                assert answer.headers["x-content-type-options"] == "nosniff"

    asyncio.run(main())


def test_a_model_can_be_loaded_without_a_question(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            answer = await g.client.post(CHAT, {"model": "fake"}, {"X-Preload-Only": "true"})
            assert (answer.status, answer.body) == (200, b"")
            assert len(g.pool.snapshot()) == 1
            assert await g.engine_requests() == []

    asyncio.run(main())


def test_chat_and_embeddings_of_a_model_are_two_engines(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            await g.client.chat()
            await g.client.post("/v1/embeddings", {"model": "fake", "input": "x"})
            assert [snapshot.key.operation for snapshot in g.pool.snapshot()] == [
                Operation.COMPLETION,
                Operation.EMBEDDING,
            ]

    asyncio.run(main())


def test_settings_of_the_artifact_count_where_the_request_is_silent(short_folder):
    async def main() -> None:
        async with gateway(short_folder, settings='{"sampling": {"seed": 7}}') as g:
            bundle = g.library.find("fake")
            (bundle.folder / "mrpack.json").write_text(
                '{"sampling": {"temperature": 0.5, "top_k": 3, "max_tokens": 9, "seed": 1},'
                ' "keep_alive": "-1"}'
            )
            await g.client.chat(temperature=0, max_completion_tokens=5)
            seen = (await g.engine_requests())[0]["body"]
            assert (seen["temperature"], seen["top_k"], seen["seed"]) == (0, 3, 7)
            assert "max_tokens" not in seen
            assert (await g.client.get("/engines/ps")).json[0]["keep_alive"] == "-1"
            await g.client.post("/v1/embeddings", {"model": "fake", "input": "x"})
            assert "top_k" not in (await g.engine_requests(1))[0]["body"]

    asyncio.run(main())


def test_engines_on_tcp_are_reached_too(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(tcp=True)) as g:
            assert (await g.client.chat()).status == 200
            assert (await g.client.chat(stream=True)).text == "Hello from a fake engine."

    asyncio.run(main())

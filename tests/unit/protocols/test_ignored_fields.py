"""Fields that an engine overlooks are named in the answer, and go to it all the same."""

from __future__ import annotations

import asyncio

import pytest

from mrpack_runtime.protocols.ignored import find_ignored
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import CHAT, chat_body, gateway

HEADER = "x-mrpack-ignored"
QUESTION = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        (CHAT, chat_body(store=True, verbosity="low", x=1), "store, verbosity"),
        (CHAT, chat_body(stream=True, service_tier="auto"), "service_tier"),
        (CHAT, chat_body(store=False, user=None, temperature=0.5), None),
        (
            "/engines/llama.cpp/v1/embeddings",
            {"model": "fake", "input": "one", "dimensions": 8, "user": "ada"},
            "user",
        ),
        ("/v1/completions", {"model": "fake", "prompt": "one", "best_of": 2}, "best_of"),
        (
            "/v1/messages",
            {"model": "fake", "max_tokens": 9, "messages": QUESTION, "metadata": {}, "user": "ada"},
            "metadata, user",
        ),
        ("/api/chat", {"model": "fake", "messages": QUESTION, "options": {"num_ctx": 9}}, "options.num_ctx"),
    ],
)
def test_the_header_names_what_changes_nothing(short_folder, path, body, named):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(name="llama.cpp")) as g:
            answer = await g.client.post(path, body)
            assert answer.status == 200
            assert answer.headers.get(HEADER) == named
            if path == CHAT:
                (seen,) = await g.engine_requests()
                assert seen["body"] == {**body, "model": seen["body"]["model"]}

    asyncio.run(main())


def test_an_engine_that_drops_what_it_does_not_know_overlooks_all_the_rest(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(name="llama.cpp", quirks="llama_cpp_server")) as g:
            body = chat_body(max_completion_tokens=9, typical_p=0.5, reasoning_effort="low", mirostat=1)
            answer = await g.client.post(CHAT, body)
            assert answer.headers.get(HEADER) == "reasoning_effort, typical_p"
            old = chat_body(functions=[{"name": "f", "parameters": {"type": "object"}}])
            assert HEADER not in (await g.client.post(CHAT, old)).headers
            asked = {"model": "fake", "messages": QUESTION, "options": {"repeat_last_n": 3}}
            assert (await g.client.post("/api/chat", asked)).headers[HEADER] == "repeat_last_n"
            message = {"model": "fake", "messages": QUESTION, "max_tokens": 9, "stream": True}
            assert HEADER not in (await g.client.post("/v1/messages", message)).headers

    asyncio.run(main())


def test_of_an_engine_that_nobody_knows_nothing_is_said():
    assert find_ignored("other", CHAT, chat_body(store=True)) == ()
    assert find_ignored("diffusers", "/v1/images/generations", {"style": "vivid", "model": "m"}) == ("style",)

"""Prompts and answers are nobody's business: no log has them unless `--log-prompts` was said."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mrpack_runtime.gateway.logbook import LogBook
from mrpack_runtime.gateway.transcripts import TEXT_LIMIT, masked
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import CHAT, chat_body, gateway

CANARY = "yellow-bird-4711"
SAID = f"echo {CANARY}"
KEY = "team-key-of-no-known-shape"
MESSAGES = [{"role": "user", "content": SAID}]
# Every family of requests that carry words of a user.
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"messages": MESSAGES},
    "/v1/completions": {"prompt": SAID},
    "/v1/embeddings": {"input": SAID},
    "/v1/images/generations": {"prompt": SAID},
    "/v1/rerank": {"query": SAID, "documents": [CANARY, "b"]},
    "/v1/score": {"text_1": SAID, "text_2": [CANARY]},
    "/v1/responses": {"input": SAID},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": MESSAGES},
    "/v1/tokenize": {"prompt": SAID},
    "/api/chat": {"messages": MESSAGES},
    "/api/generate": {"prompt": SAID},
    "/api/embed": {"input": SAID},
    "/api/embeddings": {"prompt": SAID},
}
STREAMED = {CHAT, "/v1/completions", "/v1/responses", "/v1/messages", "/api/chat", "/api/generate"}


@contextmanager
def everything_logged(book: LogBook) -> Iterator[None]:
    """As verbose as it can be."""
    root = logging.getLogger()
    level = root.level
    root.addHandler(book)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(book)


async def lines_of(book: LogBook) -> list[str]:
    return "".join([piece async for piece in book.read(follow=False)]).splitlines()


def transcripts(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines if line.startswith("{")]


def files_with(folder: Path, word: str) -> list[str]:
    """Models aside, which no request changes."""
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and "models" not in path.parts and word in path.read_text(errors="replace")
    ]


@pytest.mark.parametrize("mode", ["ok", "bad-json", "server-error", "die-mid-stream"])
def test_without_the_option_nothing_of_prompt_or_answer_reaches_any_log(short_folder, mode):
    book = LogBook(short_folder / "logs")

    async def main() -> None:
        async with gateway(short_folder, FakeEngine(name="llama.cpp", mode=mode)) as g:
            for path, asked in ASKED.items():
                for stream in {False, path in STREAMED}:
                    body = {"model": "fake", "stream": stream, **asked}
                    answer = await g.client.post(path, body, {"Authorization": f"Bearer {KEY}"})
                    assert "x-request-id" not in answer.headers
            lines = await lines_of(book)
            assert any(CHAT in line for line in lines), "there is a log"
            assert not [line for line in lines if CANARY in line or KEY in line]
            assert not files_with(short_folder, CANARY)
            assert not files_with(short_folder, KEY)

    with everything_logged(book):
        asyncio.run(main())


def test_with_it_each_exchange_is_two_lines_with_one_id(short_folder, caplog):
    book = LogBook(short_folder / "logs")

    async def main() -> None:
        async with gateway(short_folder, log_prompts=True) as g:
            whole = await g.client.chat(prompt=SAID)
            streamed = await g.client.post(
                CHAT, chat_body(prompt=SAID, stream=True), {"X-Request-Id": "mine-1"}
            )
            asked, answered, second, streamed_back = transcripts(await lines_of(book))
            assert asked["request_id"] == answered["request_id"] == whole.headers["x-request-id"]
            assert second["request_id"] == streamed_back["request_id"] == "mine-1"
            assert streamed.headers["x-request-id"] == "mine-1"
            assert SAID in asked["request"]
            assert CANARY in answered["answer"]
            assert (answered["status"], asked["path"], asked["model"]) == (200, CHAT, "localhost/fake:latest")
            assert CANARY in streamed_back["answer"]

    with everything_logged(book):
        asyncio.run(main())
    assert any("--log-prompts" in record.message for record in caplog.records), "the log says so at the start"


def test_each_text_is_bounded_and_keys_are_masked(short_folder):
    book = LogBook(short_folder / "logs")
    secret = "sk-" + "a1B2" * 10

    async def main() -> None:
        async with gateway(short_folder, log_prompts=True) as g:
            prompt = f"echo {secret} {KEY} " + "x" * 3 * TEXT_LIMIT
            answer = await g.client.post(
                CHAT, chat_body(prompt=prompt), {"Authorization": f"Bearer {KEY}", "X-Request-Id": "a\tb"}
            )
            assert answer.status == 200
            lines = await lines_of(book)
            assert not [line for line in lines if secret in line or KEY in line]
            asked, answered = transcripts(lines)
            assert asked["request_id"] != "a\tb"
            assert len(asked["request"]) == len(answered["answer"]) == TEXT_LIMIT
            assert min(asked["size"], answered["size"]) > 3 * TEXT_LIMIT

    with everything_logged(book):
        asyncio.run(main())


def test_an_exchange_that_fails_is_told_too(short_folder):
    book = LogBook(short_folder / "logs")

    async def main() -> None:
        async with gateway(short_folder, FakeEngine(mode="garbage"), log_prompts=True) as g:
            assert (await g.client.chat(prompt=SAID)).status == 502
            asked, answered = transcripts(await lines_of(book))
            assert SAID in asked["request"]
            assert (answered["status"], answered["answer"]) == (None, "")

    with everything_logged(book):
        asyncio.run(main())


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-abcdefghijklmnop",
        "hf_abcdefghijklmnopqrstuv",
        "ghp_abcdefghijklmnopqrstuv",
        "Authorization: Bearer abcdefgh12345678",
        "AKIAABCDEFGHIJKLMNOP",
    ],
)
def test_what_looks_like_a_key_is_masked(text):
    assert "[masked]" in masked(f"take {text}, please")
    assert "abcdefgh" not in masked(text)
    assert "please" in masked(f"take {text}, please")


def test_plain_words_are_not_masked():
    text = "a risk-averse bearer of news asks about sk-lakes and hf_ and 4711"
    assert masked(text) == text

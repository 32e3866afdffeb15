"""Whatever is refused, and however early: each API's clients are told in its own words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mrpack.model.config import ModelConfig
from mrpack_runtime.gateway.bodies import BODY_LIMIT
from mrpack_runtime.gateway.guard import Policy, hash_key
from mrpack_runtime.gateway.routes import RouteTable
from mrpack_runtime.machine.host import HostFacts
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import CHAT, chat_body, gateway, read_answer

JSON = {"Content-Type": "application/json"}
KEY = {"Authorization": "Bearer k"}


def openai(body: Any) -> str:
    """The message, when the rest is as OpenAI writes it."""
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return str(body["error"]["message"])


def anthropic(body: Any) -> str:
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message"}
    return str(body["error"]["message"])


def ollama(body: Any) -> str:
    assert set(body) == {"error"}
    assert isinstance(body["error"], str)
    return str(body["error"])


FAMILIES = {
    CHAT: openai,
    "/engines/fake/v1/embeddings": openai,
    "/models/create": openai,
    "/v1/responses": openai,
    "/v1/messages": anthropic,
    "/anthropic/v1/messages": anthropic,
    "/engines/fake/v1/messages/count_tokens": anthropic,
    "/api/chat": ollama,
    "/api/pull": ollama,
}


@pytest.mark.parametrize(("path", "read"), FAMILIES.items())
def test_refusals_before_any_handler_are_in_the_words_of_the_api(short_folder, path, read):
    line = f"POST {path} HTTP/1.1\r\n".encode()
    torn = {
        "a malformed header": line + b"no colon\r\n\r\n",
        "two lengths": line + b"Host: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "too many headers": line + b"A: b\r\n" * 200 + b"\r\n",
        "a control character": line.replace(b" HTTP", b"/%00 HTTP") + b"Host: localhost\r\n\r\n",
        "no Host": line + b"Content-Length: 0\r\n\r\n",
    }

    async def main() -> None:
        async with gateway(short_folder, policy=Policy(key_hashes=(hash_key("k"),))) as g:

            async def refused(status: int, method: str = "POST", **rest: Any) -> None:
                answer = await g.client.request(method, path, **rest)
                assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
                assert read(answer.json)

            await refused(403, host="evil.example.com")
            await refused(403, headers={"Origin": "http://evil.example.com"})
            await refused(401, body=b"{}", headers=JSON)
            await refused(405, method="PATCH", headers=KEY)
            await refused(415, body=b"{}", headers={**KEY, "Content-Type": "text/plain"})
            await refused(400, body=b"[]", headers={**KEY, **JSON})
            await refused(413, headers={**KEY, **JSON, "Content-Length": str(BODY_LIMIT + 1)})
            for name, content in torn.items():
                reader, writer = await g.client.connect()
                writer.write(content)
                answer = await read_answer(reader)
                writer.close()
                assert (name, answer.status) == (name, 400)
                assert read(answer.json)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/nope", openai),
        ("/v1/files", openai),
        ("/v1/batches", openai),
        ("/engines/nope", openai),
        ("/v1/messages/batches", anthropic),
        ("/engines/fake/v1/messages/batches/b1", anthropic),
        ("/anthropic/v1/complete", anthropic),
        ("/api/nope", ollama),
    ],
)
def test_a_path_that_no_row_has_is_refused_in_the_words_of_those_beside_it(path, read):
    shape = RouteTable.build().error_shape(path)
    error = {"message": "there is nothing here", "type": "t", "param": None, "code": "c"}
    assert read(shape(404, error)) == "there is nothing here"


class Buggy(FakeEngine):
    def unsupported_reason(self, host: HostFacts, config: ModelConfig) -> str | None:
        raise RuntimeError("a bug")


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/api/chat"])
def test_a_bug_is_told_in_the_words_of_the_api(short_folder, path):
    async def main() -> None:
        async with gateway(short_folder, Buggy()) as g:
            answer = await g.client.post(path, chat_body(max_tokens=1))
            assert answer.status == 500
            assert FAMILIES[path](answer.json).startswith("internal error")

    asyncio.run(main())

"""`keep_alive` of a request: the same in every API, for the gateway alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mrpack.model.overrides import duration_s
from mrpack_runtime.engine import Operation
from mrpack_runtime.protocols.keeping import SCHEMA, take_keep_alive
from mrpack_runtime.protocols.refusal import RequestRefused
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import CHAT, gateway, read_events, until

HI = [{"role": "user", "content": "hi"}]
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"messages": HI},
    "/v1/completions": {"prompt": "hi"},
    "/v1/embeddings": {"input": "hi"},
    "/v1/images/generations": {"prompt": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": HI, "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": HI},
    "/v1/rerank": {"query": "hi", "documents": ["a"]},
    "/v1/score": {"text_1": "hi", "text_2": "a"},
    "/v1/tokenize": {"prompt": "hi"},
    "/v1/detokenize": {"tokens": [65]},
    "/v1/apply-template": {"messages": HI},
    "/api/chat": {"messages": HI},
    "/api/generate": {"prompt": "hi"},
    "/api/embed": {"input": "hi"},
    "/api/embeddings": {"prompt": "hi"},
}
FORM = "\r\n".join(
    [
        *("--XX", 'Content-Disposition: form-data; name="model"', "", "fake"),
        *("--XX", 'Content-Disposition: form-data; name="keep_alive"', "", "1h"),
        *("--XX", 'Content-Disposition: form-data; name="user"', "", "ada"),
        *("--XX", 'Content-Disposition: form-data; name="image"; filename="a.png"', "", "x", "--XX--", ""),
    ]
).encode()


def engine() -> FakeEngine:
    return FakeEngine(name="llama.cpp", operations=frozenset(Operation))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        *(
            (None, None),
            ("5m", "5m"),
            (300, "300s"),
            (1.5, "2s"),
            (0.5, "1s"),
            (0, "0"),
            ("0", "0"),
            ("90", "90s"),
        ),
        *((-1, "-1"), (-0.5, "-1"), ("-1", "-1"), ("-1m", "-1")),
    ],
)
def test_it_is_a_duration_of_ours(value: Any, found: str | None) -> None:
    assert take_keep_alive({"keep_alive": value}) == found


@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.floats(-1e9, 1e9),
        st.integers(-(2**31), 2**32),
        st.from_regex(r"-?[0-9]{1,3}(ms|s|m|h|d)?", fullmatch=True),
    )
)
def test_the_schema_says_what_is_taken(value: Any) -> None:
    if not Draft202012Validator(SCHEMA).is_valid(value):
        with pytest.raises(RequestRefused):
            take_keep_alive({"keep_alive": value})
    elif (found := take_keep_alive({"keep_alive": value})) is not None:
        seconds = duration_s(found)
        assert seconds is None or seconds >= 0


def test_it_is_taken_out_of_the_request() -> None:
    body = {"model": "m", "keep_alive": "5m"}
    assert (take_keep_alive(body), body) == ("5m", {"model": "m"})


@pytest.mark.parametrize("path", ASKED)
def test_each_api_takes_it_and_no_engine_sees_it(short_folder: Path, path: str) -> None:
    async def main() -> None:
        async with gateway(short_folder, engine()) as g:
            body = {"model": "fake", "stream": False, **ASKED[path]}
            wrong = await g.client.post(path, {**body, "keep_alive": "soon"})
            assert (wrong.status, g.pool.snapshot()) == (400, ())
            answer = await g.client.post(path, {**body, "keep_alive": "1h"})
            assert answer.status == 200, answer.body
            assert "keep_alive" not in answer.headers.get("x-mrpack-ignored", "")
            (shot,) = g.pool.snapshot()
            assert shot.keep_alive_s == 3600
            assert all("keep_alive" not in request["body"] for request in await g.engine_requests())
            await g.client.post(path, body)
            (shot,) = g.pool.snapshot()
            assert shot.keep_alive_s == 300

    asyncio.run(main())


def test_a_form_takes_it_and_its_ignored_fields_are_named(short_folder: Path) -> None:
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(name="diffusers")) as g:
            headers = {"Content-Type": "multipart/form-data; boundary=XX"}
            answer = await g.client.post("/v1/images/edits", FORM, headers)
            assert answer.headers["x-mrpack-ignored"] == "user"
            (shot,) = g.pool.snapshot()
            assert shot.keep_alive_s == 3600

    asyncio.run(main())


def test_zero_ends_the_engine_after_this_request(short_folder: Path) -> None:
    async def main() -> None:
        async with gateway(short_folder, settings='{"keep_alive": "-1"}') as g:
            assert (await g.client.chat(keep_alive=0, stream=True)).status == 200
            await until(lambda: not g.pool.snapshot())

    asyncio.run(main())


def test_a_load_alone_takes_it_too(short_folder: Path) -> None:
    async def main() -> None:
        async with gateway(short_folder) as g:
            body = {"model": "fake", "keep_alive": -1}
            assert (await g.client.post(CHAT, body, {"X-Preload-Only": "true"})).status == 200
            (shot,) = g.pool.snapshot()
            assert shot.keep_alive_s is None

    asyncio.run(main())


def test_ollamas_unload_of_a_busy_model_waits_for_its_answers(short_folder: Path) -> None:
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.start_stream(chunks=20, delay=0.02)
            answer = await g.client.post("/api/generate", {"model": "fake", "keep_alive": 0})
            assert (answer.status, answer.json["done_reason"]) == (200, "unload")
            assert [event async for event in read_events(reader)][-1] == "[DONE]"
            writer.close()
            await until(lambda: not g.pool.snapshot())

    asyncio.run(main())

"""How likely tokens were: llama-server's account of it in OpenAI's shape, whole and in streams."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from mrpack_runtime.gateway.events import TranslatedEvents
from mrpack_runtime.protocols import CHAT, OPENAI_EVENTS, Served
from mrpack_runtime.protocols.logprobs import parse_logprobs
from mrpack_runtime.protocols.openai import COMPLETION
from mrpack_runtime.protocols.responses.history import History
from mrpack_runtime.protocols.responses.request import parse_response_request
from tests.fakes.chat_events import USAGE, as_sse, chunk, pieces, whole
from tests.fakes.engine import TEXT
from tests.fakes.official_clients import NAME, QUESTION, open_ai

SERVED = Served(model="m", asked_at=0.0, ready_at=0.0, clock=lambda: 0.0)
# A word, and a smile of two tokens.
TOKENS = (b" Hi", b"\xf0\x9f", b"\x98\x80", b"!")
NAMES = [" Hi", r"bytes:\xf0\x9f", r"bytes:\x98\x80", "!"]


def row(token: bytes, logprob: float = -0.5) -> dict[str, object]:
    return {"id": 7, "token": token.decode(errors="ignore"), "bytes": list(token), "logprob": logprob}


def rows(*tokens: bytes) -> dict[str, object]:
    return {"content": [{**row(token), "top_logprobs": [row(token), row(b"~", -2.0)]} for token in tokens]}


def completion(
    text: str, logprobs: object, *, index: int = 0, reason: str | None = None
) -> dict[str, object]:
    choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
    return {"id": "c", "object": "text_completion", "created": 0, "model": "inner", "choices": [choice]}


def answering(path=COMPLETION, **body):
    asked = parse_logprobs(path, {"prompt": "x", **body})
    assert asked is not None
    return asked.answering(SERVED)


def test_a_completion_has_openais_four_lists():
    answer = answering(logprobs=2).answer(completion(" Hi😀!", rows(*TOKENS), reason="stop"))
    Completion.model_validate(answer, strict=True)
    found = answer["choices"][0]["logprobs"]
    assert (answer["model"], found["tokens"]) == ("m", NAMES)
    assert found["token_logprobs"] == [-0.5] * 4
    assert found["top_logprobs"] == [{name: -0.5, "~": -2.0} for name in NAMES]
    assert found["text_offset"] == [0, 3, 3, 4]


@given(st.lists(st.integers(0, 2000), max_size=6))
def test_a_stream_tells_the_same_in_pieces(cuts):
    events = [
        completion(" Hi", rows(TOKENS[0])),
        completion(" Ho", rows(b" Ho"), index=1),
        completion("😀", rows(*TOKENS[1:3])),
        completion("!", rows(b"!")),
        completion("", None, reason="stop"),
    ]
    filter_ = TranslatedEvents(answering(logprobs=1), OPENAI_EVENTS, None)
    sent = b"".join(filter_.feed(piece) for piece in pieces(as_sse(events), cuts)) + filter_.end()
    *told, end = [line.removeprefix("data: ") for line in sent.decode().split("\n\n") if line]
    assert end == "[DONE]"
    choices = [json.loads(event)["choices"][0] for event in told]
    for index, names, offsets in ((0, NAMES, [0, 3, 3, 4]), (1, [" Ho"], [0])):
        found = [choice["logprobs"] for choice in choices if choice["index"] == index and choice["logprobs"]]
        assert [name for one in found for name in one["tokens"]] == names
        assert [offset for one in found for offset in one["text_offset"]] == offsets
    assert choices[-1]["logprobs"] is None


def test_what_has_openais_shape_already_stays():
    theirs = {"tokens": ["x"], "token_logprobs": [-1.0], "top_logprobs": [{"x": -1.0}], "text_offset": [0]}
    answer = answering(logprobs=1).answer(completion("x", theirs))
    assert answer["choices"][0]["logprobs"] == theirs


@pytest.mark.parametrize(
    ("path", "asked", "sent"),
    [
        (COMPLETION, {"logprobs": 0}, {"logprobs": 1}),
        (COMPLETION, {"logprobs": 3}, {"logprobs": 3}),
        (CHAT, {"logprobs": True}, {"logprobs": True, "top_logprobs": 1}),
        (CHAT, {"logprobs": True, "top_logprobs": 0}, {"logprobs": True, "top_logprobs": 1}),
    ],
)
def test_engines_are_asked_for_one_alternative_at_least(path, asked, sent):
    found = parse_logprobs(path, asked)
    assert found is not None
    assert found.body == sent


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (COMPLETION, {}),
        (COMPLETION, {"logprobs": None}),
        (COMPLETION, {"logprobs": "x"}),
        (COMPLETION, {"logprobs": True}),
        (COMPLETION, {"logprobs": -1}),
        (CHAT, {"logprobs": False}),
        (CHAT, {"logprobs": True, "top_logprobs": 2}),
    ],
)
def test_all_other_requests_go_as_they_are(path, body):
    assert parse_logprobs(path, body) is None


ODDS = "message.output_text.logprobs"


def respond(**body):
    return parse_response_request({"model": "m", "input": "hi", **body}, History())


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, {}),
        ({"top_logprobs": 0, "include": ["reasoning.encrypted_content"]}, {}),
        ({"include": [ODDS]}, {"logprobs": True, "top_logprobs": 1}),
        ({"include": [ODDS], "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
    ],
)
def test_a_response_has_them_when_they_are_included_or_alternatives_are_wanted(asked, sent):
    found = respond(**asked)
    assert {name: found.body[name] for name in found.body if "logprobs" in name} == sent
    assert found.ignored == (("include",) if "reasoning" in str(asked) else ())


@pytest.mark.parametrize(("asked", "shown"), [({}, []), ({"top_logprobs": 2}, ["Hi", "~"])])
def test_a_response_tells_them_of_its_text_with_as_many_others_as_were_asked_for(asked, shown):
    found = (
        respond(include=[ODDS], **asked).answering(SERVED).answer(whole("Hi!", logprobs=rows(b"Hi", b"!")))
    )
    Response.model_validate(found, strict=True)
    part = found["output"][0]["content"][0]
    assert [token["token"] for token in part["logprobs"]] == ["Hi", "!"]
    assert [other["token"] for other in part["logprobs"][0]["top_logprobs"]] == shown
    assert set(part["logprobs"][0]) == {"token", "bytes", "logprob", "top_logprobs"}
    assert found["top_logprobs"] == asked.get("top_logprobs", 0)


def test_events_of_a_response_tell_them_with_each_piece_and_all_at_its_end():
    stream = [
        chunk({"reasoning_content": "hm"}, logprobs=rows(b"hm")),
        chunk({"content": "Hi"}, logprobs=rows(b"Hi")),
        chunk({"content": " there!"}, logprobs=rows(b" there", b"!")),
        chunk({}, "stop"),
        USAGE,
    ]
    answering = respond(include=[ODDS], stream=True).answering(SERVED)
    events = [*(event for piece in stream for event in answering.chunk(piece)), *answering.end()]
    official = TypeAdapter(ResponseStreamEvent)
    told: dict[str, list[list[str]]] = {}
    for event in events:
        official.validate_python(event)
        part = event.get("part", event)
        if "logprobs" in part:
            told.setdefault(event["type"], []).append([token["token"] for token in part["logprobs"]])
    everything = ["Hi", " there", "!"]
    assert told == {
        "response.content_part.added": [[]],
        "response.output_text.delta": [["Hi"], [" there", "!"]],
        "response.output_text.done": [everything],
        "response.content_part.done": [everything],
    }
    kept = events[-1]["response"]["output"][-1]["content"][0]["logprobs"]
    assert [token["token"] for token in kept] == everything


def test_openai_client_is_told_how_likely_tokens_are(short_folder):
    async def main() -> None:
        async with open_ai(short_folder) as (_, client):
            whole = await client.completions.create(model="fake", prompt="hi", logprobs=0)
            assert "".join(whole.choices[0].logprobs.tokens) == TEXT == whole.choices[0].text
            stream = await client.completions.create(model="fake", prompt="hi", logprobs=2, stream=True)
            chunks = [chunk async for chunk in stream]
            odds = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
            assert "".join(token for one in odds for token in one.tokens) == TEXT
            assert {chunk.model for chunk in chunks} == {NAME}
            chat = await client.chat.completions.create(model="fake", messages=QUESTION, logprobs=True)
            content = chat.choices[0].logprobs.content
            assert "".join(token.token for token in content) == TEXT
            assert [token.top_logprobs for token in content] == [[]] * len(content)
            response = await client.responses.create(model="fake", input="hi", include=[ODDS], top_logprobs=2)
            told = response.output[0].content[0].logprobs
            assert "".join(token.token for token in told) == TEXT == response.output_text
            assert {len(token.top_logprobs) for token in told} == {2}

    asyncio.run(main())

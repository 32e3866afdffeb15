"""Ollama's requests in OpenAI's words, and answers back."""

from __future__ import annotations

import json

import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import Unsupported
from mrpack_runtime.gateway.events import TranslatedEvents
from mrpack_runtime.protocols import CHAT, JSON_LINES, Served
from mrpack_runtime.protocols.ollama.answer import ChatAnswer, EmbedAnswer, GenerateAnswer, LegacyEmbedAnswer
from mrpack_runtime.protocols.ollama.request import (
    is_load_only,
    parse_chat,
    parse_embed,
    parse_generate,
)
from mrpack_runtime.protocols.openai import check_fields
from mrpack_runtime.protocols.refusal import RequestRefused
from tests.fakes.chat_events import TEXT_STREAM, TOOL_STREAM, as_sse, call, chunk, pieces, whole, with_calls

SERVED = Served(model="m", asked_at=1.0, ready_at=3.0, clock=lambda: 10.0)
QUESTION = [{"role": "user", "content": "hi"}]
PNG = "iVBORw0KGgo="


def test_options_have_their_place_and_what_changes_nothing_is_named():
    asked = parse_chat(
        {
            "model": "m",
            "messages": QUESTION,
            "options": {
                "num_predict": 7,
                "temperature": 0.1,
                "num_ctx": 99,
                "stop": ["a"],
                "repeat_penalty": 1.1,
            },
            "template": "x",
            "width": 64,
            "stream": False,
            "min_p": 0.2,
        }
    )
    assert asked.body == {
        "messages": QUESTION,
        "max_tokens": 7,
        "temperature": 0.1,
        "stop": ["a"],
        "repeat_penalty": 1.1,
        "min_p": 0.2,
    }
    assert asked.ignored == ("template", "width", "options.num_ctx")


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": False, "options": {"num_predict": -1}}, {}),
        ({"stream": False, "options": {"num_predict": 0}}, {}),
        ({"stream": False, "format": "json"}, {"response_format": {"type": "json_object"}}),
        ({"stream": False, "think": False}, {"chat_template_kwargs": {"enable_thinking": False}}),
        *(
            (
                {"stream": False, "think": level},
                {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": level},
            )
            for level in ("low", "high", "max")
        ),
    ],
)
def test_fields_of_a_chat(fields, found):
    body = parse_chat({"model": "m", "messages": QUESTION, **fields}).body
    assert body == {"messages": QUESTION, **found}


def test_calls_without_ids_find_their_results():
    body = parse_chat(
        {
            "model": "m",
            "messages": [
                *QUESTION,
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"function": {"name": "f", "arguments": {"x": 1}}},
                        {"function": {"name": "g", "arguments": {}}},
                        {"function": {"name": "f", "arguments": {"x": 2}}},
                    ],
                },
                {"role": "tool", "tool_name": "g", "content": "G"},
                {"role": "tool", "content": "F1"},
                {"role": "tool", "tool_name": "f", "content": "F2"},
            ],
        }
    ).body
    calls = {call["id"]: call["function"] for call in body["messages"][1]["tool_calls"]}
    answered = [(calls[message["tool_call_id"]], message["content"]) for message in body["messages"][2:]]
    assert answered == [
        ({"name": "g", "arguments": "{}"}, "G"),
        ({"name": "f", "arguments": '{"x": 1}'}, "F1"),
        ({"name": "f", "arguments": '{"x": 2}'}, "F2"),
    ]


def test_a_result_whose_name_is_no_name_is_taken_all_the_same():
    body = {"model": "m", "messages": [{"role": "tool", "tool_name": [], "content": "x"}]}
    assert parse_chat(body).body["messages"][0]["role"] == "tool"


def test_a_prompt_is_a_turn_of_a_chat_or_goes_raw():
    asked = parse_generate({"model": "m", "prompt": "p", "system": "s", "images": [PNG], "stream": False})
    assert asked.path == "/v1/chat/completions"
    assert asked.body["messages"] == [
        {"role": "system", "content": "s"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "p"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ],
        },
    ]
    raw = parse_generate({"model": "m", "prompt": "p", "raw": True, "system": "s", "stream": False})
    assert (raw.path, raw.body, raw.ignored) == ("/v1/completions", {"prompt": "p"}, ("system",))
    with pytest.raises(Unsupported):
        parse_generate({"model": "m", "prompt": "p", "suffix": "s"})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "x", "images": ["no base64!"]}]}, "messages[0].images"),
        ({"messages": QUESTION, "format": 7}, "format"),
        ({"messages": QUESTION, "think": "much"}, "think"),
        ({"messages": QUESTION, "options": []}, None),
    ],
)
def test_a_wrong_field_is_named(body, param):
    if param is None:  # empty options of any kind are no options
        parse_chat({"model": "m", **body})
        return
    with pytest.raises(RequestRefused) as caught:
        parse_chat({"model": "m", **body})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("body", "only"),
    [({}, True), ({"messages": []}, True), ({"prompt": ""}, True), ({"prompt": "x"}, False)],
)
def test_nothing_asked_is_a_load(body, only):
    assert is_load_only(body) is only


def test_a_whole_answer():
    found = ChatAnswer(SERVED).answer(whole("Hello", reasoning="hm"))
    assert found["message"] == {"role": "assistant", "content": "Hello", "thinking": "hm"}
    assert (found["done"], found["done_reason"]) == (True, "stop")
    assert (found["total_duration"], found["load_duration"]) == (9_000_000_000, 2_000_000_000)
    assert (found["prompt_eval_count"], found["eval_count"]) == (3, 5)
    assert GenerateAnswer(SERVED).answer(whole("Hello", reason="length"))["done_reason"] == "length"
    timed = {**whole("Hello"), "timings": {"prompt_ms": 2.0, "predicted_ms": 4.5}}
    found = GenerateAnswer(SERVED).answer(timed)
    assert (found["prompt_eval_duration"], found["eval_duration"]) == (2_000_000, 4_500_000)
    calls = ChatAnswer(SERVED).answer(with_calls(call(0, '{"x": 1}', "a", "f")))["message"]["tool_calls"]
    assert calls == [{"id": "a", "function": {"index": 0, "name": "f", "arguments": {"x": 1}}}]


def test_probabilities_come_with_their_tokens():
    token = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
    row = {"id": 7, **token, "top_logprobs": [token]}
    answer = ChatAnswer(SERVED).answer(whole("Hi", logprobs={"content": [row]}))
    assert answer["logprobs"] == [{**token, "top_logprobs": [token]}]
    (line,) = ChatAnswer(SERVED).chunk(chunk({"content": "Hi"}, logprobs={"content": [row]}))
    assert line["logprobs"] == answer["logprobs"]
    assert ollama.ChatResponse.model_validate(answer).logprobs[0].token == "Hi"
    assert "logprobs" not in ChatAnswer(SERVED).answer(whole("Hi"))


@pytest.mark.parametrize("parse", [parse_chat, parse_generate])
@pytest.mark.parametrize(
    ("asked", "shown"), [({}, []), ({"top_logprobs": 0}, []), ({"top_logprobs": 1}, ["Hi"])]
)
def test_alternatives_come_where_they_are_asked_for(parse, asked, shown):
    request = {"model": "m", "messages": QUESTION, "prompt": "hi", "logprobs": True, **asked}
    told = parse(request)
    assert told.body["top_logprobs"] == 1  # without, llama-server gives no probabilities at all
    token = {"token": "Hi", "logprob": -0.5}
    row = {**token, "top_logprobs": [token]}
    (found,) = told.answering(SERVED).answer(whole("Hi", logprobs={"content": [row]}))["logprobs"]
    assert [other["token"] for other in found.get("top_logprobs", [])] == shown


def test_a_look_back_over_the_whole_context_is_one_over_more_than_it_has():
    body = parse_chat({"messages": QUESTION, "options": {"repeat_last_n": -1}}).body
    check_fields(CHAT, body)
    assert body["repeat_last_n"] >= 1_000_000


def test_vectors():
    rows = {"data": [{"embedding": [1.0]}, {"embedding": [2.0]}], "usage": {"prompt_tokens": 4}}
    found = EmbedAnswer(SERVED).answer(rows)
    assert (found["embeddings"], found["prompt_eval_count"]) == ([[1.0], [2.0]], 4)
    assert LegacyEmbedAnswer(SERVED).answer(rows) == {"embedding": [1.0]}
    asked = parse_embed({"model": "m", "input": "x", "truncate": True, "dimensions": 3})
    assert (asked.body, asked.ignored) == ({"input": ["x"], "dimensions": 3}, ("truncate",))


def lines_of(stream, cuts=(), answering=ChatAnswer):
    events = TranslatedEvents(answering(SERVED), JSON_LINES, None)
    sent = b"".join(events.feed(piece) for piece in pieces(as_sse(stream), cuts)) + events.end()
    return [{**json.loads(line), "created_at": ""} for line in sent.splitlines()]


def test_a_stream_ends_with_counts():
    found = lines_of(TEXT_STREAM, answering=GenerateAnswer)
    assert [line["response"] for line in found] == ["Hel", "lo ü", ""]
    assert [line["done"] for line in found] == [False, False, True]
    assert (found[-1]["prompt_eval_count"], found[-1]["eval_count"]) == (3, 5)


def test_calls_in_a_stream_come_whole():
    found = lines_of(TOOL_STREAM)
    assert found[0]["message"]["thinking"] == "hm"
    calls = [call["function"] for line in found for call in line["message"].get("tool_calls", ())]
    assert calls == [
        {"index": 0, "name": "get_weather", "arguments": {"city": "Bern"}},
        {"index": 1, "name": "get_time", "arguments": {}},
    ]


@given(st.lists(st.integers(0, 2000), max_size=8))
def test_any_split_of_the_stream_gives_the_same_lines(cuts):
    assert lines_of(TOOL_STREAM, cuts) == lines_of(TOOL_STREAM)

"""llama-server's semantics in front of llama_cpp.server, as JSON in and out."""

from __future__ import annotations

import base64
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import MrpackError, Unsupported, UsageError
from mrpack_runtime.quirks import QUIRKS

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
MESSAGES = [{"role": "user", "content": "hi"}]
QUIRK = QUIRKS["llama_cpp_server"]()


def sent(path, **body):
    return QUIRK.begin(path, body).body


@pytest.mark.parametrize(
    "path", ["/v1/rerank", "/v1/responses", "/v1/messages", "/v1/images/generations", "/extras/tokenize"]
)
def test_operations_that_it_lacks_are_refused_before_anything_is_sent(path):
    with pytest.raises(Unsupported, match=path):
        QUIRK.begin(path, {})


def test_a_call_that_has_to_be_is_one_by_name():
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    found = sent(CHAT, messages=MESSAGES, tools=[tool], tool_choice="required")["tool_choice"]
    assert found == {"type": "function", "function": {"name": "f"}}
    with pytest.raises(Unsupported, match="insist on one function alone"):
        sent(CHAT, messages=MESSAGES, tools=[tool, tool], tool_choice="required")


def test_tokens_are_asked_for_and_told_in_llama_servers_words():
    there = QUIRK.begin("/tokenize", {"content": "hi", "add_special": True})
    assert (there.path, there.body) == ("/extras/tokenize", {"input": "hi"})
    assert there.answer(200, {"tokens": [1, 2]}) == (200, {"tokens": [1, 2]})
    back = QUIRK.begin("/detokenize", {"tokens": [1, 2]})
    assert (back.path, back.body) == ("/extras/detokenize", {"tokens": [1, 2]})
    assert back.answer(200, {"text": "hi"}) == (200, {"content": "hi"})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": MESSAGES, "n": 2}),
        (CHAT, {"messages": MESSAGES, "logprobs": True}),
        (COMPLETIONS, {"prompt": "a", "logprobs": 0}),
        (COMPLETIONS, {"prompt": "a", "best_of": 3}),
        (COMPLETIONS, {"prompt": ["a", "b"]}),
        (COMPLETIONS, {"prompt": [1, 2]}),
        (EMBEDDINGS, {"input": [1, 2]}),
        (EMBEDDINGS, {"input": [[1, 2]]}),
    ],
)
def test_what_it_would_silently_ignore_is_refused(path, body):
    with pytest.raises(Unsupported):
        QUIRK.begin(path, body)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (EMBEDDINGS, {"input": ""}),
        (EMBEDDINGS, {"input": []}),
        (CHAT, {"messages": MESSAGES, "response_format": {"type": "json_schema"}}),
        (
            CHAT,
            {"messages": MESSAGES, "response_format": {"type": "json_schema", "json_schema": {"schema": 1}}},
        ),
    ],
)
def test_wrong_requests_are_usage_errors(path, body):
    with pytest.raises(UsageError):
        QUIRK.begin(path, body)


def test_a_function_that_takes_nothing_may_say_so_by_silence():
    taking = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "x": 1}}}
    silent = {"type": "function", "function": {"name": "g", "parameters": None}}
    found = sent(CHAT, messages=MESSAGES, tools=[taking, silent])["tools"]
    empty = {"name": "g", "parameters": {"type": "object", "properties": {}}}
    assert found == [taking, {"type": "function", "function": empty}]


def test_the_new_name_of_the_token_limit_wins():
    assert sent(CHAT, messages=MESSAGES, max_tokens=5, max_completion_tokens=7)["max_tokens"] == 7
    assert "max_completion_tokens" not in sent(CHAT, messages=MESSAGES, max_completion_tokens=7)


def test_defaults_are_those_of_llama_server():
    body = sent(COMPLETIONS, prompt="a")
    assert (body["max_tokens"], body["repeat_penalty"]) == (None, 1.0)
    body = sent(COMPLETIONS, prompt="a", max_tokens=3, repeat_penalty=1.5)
    assert (body["max_tokens"], body["repeat_penalty"]) == (3, 1.5)


def test_a_null_is_a_field_that_was_left_out():
    body = sent(CHAT, messages=MESSAGES, temperature=None, max_tokens=None, repeat_penalty=None, stop=None)
    assert body == {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": None,
        "repeat_penalty": 1.0,
    }


def test_a_json_schema_becomes_a_json_object_with_schema():
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": schema}}
    assert sent(CHAT, messages=MESSAGES, response_format=wanted)["response_format"] == {
        "type": "json_object",
        "schema": schema,
    }
    for format_ in ({"type": "text"}, {"type": "json_object", "schema": schema}):
        assert sent(CHAT, messages=MESSAGES, response_format=format_)["response_format"] == format_


def test_texts_in_parts_and_developer_messages_become_what_it_knows():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    text = {"type": "text", "text": "a"}
    body = sent(
        CHAT,
        messages=[
            {"role": "developer", "content": [text, {"type": "text", "text": "b"}]},
            {"role": "user", "content": [text, image]},
            {"role": "assistant", "content": None, "tool_calls": []},
        ],
    )
    assert body["messages"] == [
        {"role": "system", "content": "a\nb"},
        {"role": "user", "content": [text, image]},
        {"role": "assistant", "content": "", "tool_calls": []},
    ]


def test_the_clients_body_is_left_alone():
    body = {"messages": MESSAGES, "max_completion_tokens": 3, "stream_options": {"include_usage": True}}
    copy = {**body}
    QUIRK.begin(CHAT, body)
    assert body == copy


@pytest.mark.parametrize(
    ("options", "passes"),
    [({"include_usage": True}, True), ({"include_usage": False}, False), (None, False), ("x", False)],
)
def test_the_usage_event_reaches_only_who_asked_for_it(options, passes):
    exchange = QUIRK.begin(CHAT, {"messages": MESSAGES, "stream": True, "stream_options": options})
    assert "stream_options" not in exchange.body
    word = {"choices": [{"delta": {"content": "a"}}]}
    usage = {"choices": [], "usage": {"total_tokens": 3}}
    assert exchange.chunk(word) == (word,)
    assert exchange.chunk(usage) == ((usage,) if passes else ())
    error = {"error": {"message": "too long"}}
    assert exchange.chunk(error) == (error,)


def test_embeddings_have_length_one_and_may_be_packed():
    rows = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [3.0, 4.0]}]}
    status, plain = QUIRK.begin(EMBEDDINGS, {"input": "a", "user": "u"}).answer(200, rows)
    assert (status, plain["data"][0]["embedding"]) == (200, [0.6, 0.8])
    _, packed = QUIRK.begin(EMBEDDINGS, {"input": "a", "encoding_format": "base64"}).answer(200, rows)
    assert struct.unpack("<2f", base64.b64decode(packed["data"][0]["embedding"])) == pytest.approx([0.6, 0.8])
    assert rows["data"][0]["embedding"] == [3.0, 4.0]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_embeddings_have_length_one_or_are_zero(vector):
    rows = {"data": [{"embedding": vector}]}
    _, answer = QUIRK.begin(EMBEDDINGS, {"input": "a"}).answer(200, rows)
    length = math.sqrt(math.fsum(number**2 for number in answer["data"][0]["embedding"]))
    assert math.isclose(length, 1, rel_tol=1e-6) or not any(number * number for number in vector)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": {"message": "x"}}, (400, "x")),
        (422, {"detail": "bad"}, (422, "bad")),
        (500, None, (500, "the engine gave no reason")),
        (503, "<html>", (503, "the engine gave no reason")),
        (200, None, (502, "the engine's answer is not what it should be")),
        (200, [1], (502, "the engine's answer is not what it should be")),
        (200, {"error": {"message": "x"}}, (502, "the engine's answer is not what it should be")),
    ],
)
def test_every_error_has_the_shape_that_clients_expect(status, body, expected):
    got, answer = QUIRK.begin(CHAT, {"messages": MESSAGES}).answer(status, body)
    assert (got, answer["error"]["message"]) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    [
        "messages",
        "prompt",
        "input",
        "n",
        "best_of",
        "response_format",
        "stream_options",
        "logprobs",
        "max_tokens",
    ]
)


@given(
    st.sampled_from([CHAT, COMPLETIONS, EMBEDDINGS]),
    st.dictionaries(fields, json_values, max_size=5),
    st.sampled_from([200, 400, 500]),
    json_values,
)
def test_no_request_and_no_answer_breaks_it(path, body, status, answer):
    try:
        exchange = QUIRK.begin(path, body)
    except MrpackError:
        return
    assert isinstance(exchange.body, dict)
    got, shown = exchange.answer(status, answer)
    assert isinstance(shown, dict)
    assert (got >= 400) == ("error" in shown)

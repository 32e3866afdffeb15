"""OpenAI's responses in the words of its chat, and back."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from mrpack.errors import Unsupported
from mrpack_runtime.gateway.events import TranslatedEvents
from mrpack_runtime.protocols import NAMED_EVENTS, Served
from mrpack_runtime.protocols.conversation import choose_tools
from mrpack_runtime.protocols.refusal import RequestRefused
from mrpack_runtime.protocols.responses.history import History, PreviousNotFound, Turn
from mrpack_runtime.protocols.responses.request import parse_response_request
from tests.fakes.chat_events import (
    TEXT_STREAM,
    TOOL_STREAM,
    USAGE,
    as_sse,
    call,
    chunk,
    pieces,
    whole,
    with_calls,
)

SERVED = Served(model="m", asked_at=0.0, ready_at=1.0, clock=lambda: 2.0)


def parse(history=None, **body):
    return parse_response_request({"model": "m", **body}, history or History())


def messages(items, **rest):
    return parse(input=items, **rest).body["messages"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("hi", [{"role": "user", "content": "hi"}]),
        ([{"role": "user", "content": "hi"}], [{"role": "user", "content": "hi"}]),
        (
            [
                {
                    "type": "message",
                    "role": "developer",
                    "content": [{"type": "input_text", "text": "Be brief."}],
                }
            ],
            [{"role": "system", "content": "Be brief."}],
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "what?"},
                        {"type": "input_image", "image_url": "data:image/png;base64,QUJD"},
                    ],
                }
            ],
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what?"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                    ],
                }
            ],
        ),
        (
            [
                {"role": "user", "content": "weather?"},
                {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "I look."}],
                },
                {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
                {"type": "function_call", "call_id": "b", "name": "g", "arguments": '{"x":1}'},
                {"type": "function_call_output", "call_id": "a", "output": "12"},
                {
                    "type": "function_call_output",
                    "call_id": "b",
                    "output": [{"type": "input_text", "text": "13"}],
                },
            ],
            [
                {"role": "user", "content": "weather?"},
                {
                    "role": "assistant",
                    "content": "I look.",
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                        {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"x":1}'}},
                    ],
                },
                {"role": "tool", "tool_call_id": "a", "content": "12"},
                {"role": "tool", "tool_call_id": "b", "content": "13"},
            ],
        ),
    ],
)
def test_items_become_messages(given, found):
    assert messages(given) == found


def test_the_rest_of_a_request_has_its_place():
    body = parse(
        input="hi",
        instructions="Be brief.",
        max_output_tokens=9,
        temperature=0.5,
        stream=True,
        tools=[{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        reasoning={"effort": "low"},
        min_p=0.1,
        metadata={"a": "b"},
    ).body
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["max_tokens"], body["temperature"], body["min_p"]) == (9, 0.5, 0.1)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert body["tools"][0]["function"] == {"name": "f", "parameters": {"type": "object"}, "strict": True}
    assert body["tool_choice"] == "required"
    assert body["parallel_tool_calls"] is False
    assert body["response_format"]["json_schema"] == {
        "name": "n",
        "schema": {"type": "object"},
        "strict": True,
    }
    assert (body["reasoning_effort"], body["chat_template_kwargs"]) == ("low", {"enable_thinking": True})
    assert not {"input", "instructions", "text", "metadata", "model", "max_output_tokens"} & body.keys()


def test_some_of_the_tools_can_be_allowed():
    tools = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in "fgh"]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    body = parse(input="hi", tools=tools, tool_choice=choice).body
    choose_tools(body)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["g"]
    assert body["tool_choice"] == "required"


@pytest.mark.parametrize(
    "body",
    [
        {"background": True},
        {"conversation": "c"},
        {"prompt": {"id": "p"}},
        {"truncation": "auto"},
        {"tools": [{"type": "web_search"}]},
        {"input": [{"type": "item_reference", "id": "x"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
    ],
)
def test_what_only_openai_runs_is_refused(body):
    with pytest.raises(Unsupported):
        parse(**{"input": "x", **body})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": 7}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"input": "x", "reasoning": {"effort": "much"}}, "reasoning.effort"),
        ({"input": "x", "stream": 1}, "stream"),
    ],
)
def test_a_wrong_field_is_named(body, param):
    with pytest.raises(RequestRefused) as caught:
        parse(**body)
    assert caught.value.param == param


def test_what_changes_nothing_is_named():
    asked = parse(
        input="x",
        metadata={"a": "b"},  # which the answer repeats
        include=["reasoning.encrypted_content"],
        text={"verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto"},
    )
    assert asked.ignored == ("include", "reasoning.summary", "text.verbosity")


def answer(history, given, text, previous=None, **rest):
    asked = parse(history, input=given, previous_response_id=previous, **rest)
    return asked.body["messages"], asked.answering(SERVED).answer(whole(text))


def test_a_conversation_keeps_both_sides_and_branches():
    history = History()
    _, one = answer(history, "first", "1", instructions="only for the first")
    _, two = answer(history, "second", "2", one["id"])
    seen, _ = answer(history, "third", "3", two["id"])
    assert [message["content"] for message in seen] == ["first", "1", "second", "2", "third"]
    seen, _ = answer(history, "another second", "4", one["id"])
    assert [message["content"] for message in seen] == ["first", "1", "another second"]
    assert history.delete(one["id"])
    seen, _ = answer(history, "x", "y", two["id"])
    assert [message["content"] for message in seen] == ["first", "1", "second", "2", "x"]


def test_what_is_not_stored_is_not_known():
    history = History()
    _, one = answer(history, "first", "1", store=False)
    with pytest.raises(PreviousNotFound):
        answer(history, "second", "2", one["id"])


def turn(number, size, before=None):
    return Turn(response={"id": f"r{number}", "output": []}, input=(), before=before, size=size)


def test_the_history_is_bounded_by_number_and_size():
    history = History(count_limit=3, size_limit=100)
    for number in range(5):
        history.put(turn(number, 1))
    assert [history.find(f"r{number}") is not None for number in range(5)] == [False, False, True, True, True]
    history.put(turn(9, 99))
    assert history.find("r2") is None
    assert history.size <= 100


def test_one_endless_conversation_is_forgotten_before_it_fills_the_memory():
    history = History(count_limit=1000, size_limit=100)
    before = None
    for number in range(50):
        before = turn(number, 10, before)
        history.put(before)
        if history.find(f"r{number}") is None:
            before = None
        assert history.size <= 110


def test_a_whole_answer_becomes_a_response():
    asked = parse(input="x", metadata={"a": "b"}, temperature=0.3)
    found = asked.answering(SERVED).answer(with_calls(call(0, '{"x": 1}', "a", "f"), call(1, "{}", "b", "g")))
    assert (found["object"], found["status"], found["model"]) == ("response", "completed", "m")
    assert (found["metadata"], found["temperature"]) == ({"a": "b"}, 0.3)
    calls = [(item["call_id"], item["name"], item["arguments"]) for item in found["output"]]
    assert calls == [("a", "f", '{"x": 1}'), ("b", "g", "{}")]
    assert found["usage"]["total_tokens"] == 8
    assert re.fullmatch("resp_[0-9a-f]{32}", found["id"])


def test_an_answer_that_was_cut_is_incomplete():
    found = parse(input="x").answering(SERVED).answer(whole("Hel", reason="length"))
    assert (found["status"], found["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert found["output"][0]["status"] == "incomplete"


def events_of(stream, cuts=(), history=None):
    events = TranslatedEvents(parse(history, input="x").answering(SERVED), NAMED_EVENTS, None)
    sent = b"".join(events.feed(piece) for piece in pieces(as_sse(stream), cuts)) + events.end()
    blocks = [block.split("\n") for block in sent.decode().split("\n\n") if block]
    found = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [name for name, _ in blocks] == [f"event: {event['type']}" for event in found]
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def test_events_of_a_text_come_in_order():
    history = History()
    found = events_of(TEXT_STREAM, history=history)
    assert [event["type"].removeprefix("response.") for event in found] == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta", "output_text.done", "content_part.done"),
        *("output_item.done", "completed"),
    ]
    final = found[-1]["response"]
    assert final["output"][0]["content"][0]["text"] == "Hello ü"
    assert history.find(final["id"]) is not None


def test_events_of_thoughts_text_and_calls_build_what_the_end_shows():
    found = events_of(TOOL_STREAM)
    texts: dict[int, str] = {}
    for event in found:
        if event["type"].endswith(".delta"):
            texts[event["output_index"]] = texts.get(event["output_index"], "") + event["delta"]
    assert list(texts.values()) == ["hm", "I look", '{"city": "Bern"}', "{}"]
    done = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert done == found[-1]["response"]["output"]
    assert [item["type"] for item in done] == ["reasoning", "message", "function_call", "function_call"]


@pytest.mark.parametrize(
    "stream",
    [
        TEXT_STREAM,
        TOOL_STREAM,
        [*TEXT_STREAM[:3], chunk({}, "length"), USAGE],
        [chunk({"refusal": "No."}), chunk({}, "stop"), USAGE],
    ],
    ids=["text", "tools", "cut", "refused"],
)
def test_every_event_is_one_of_the_official_clients(stream):
    events = TypeAdapter(ResponseStreamEvent)
    for event in events_of(stream):
        found = events.validate_python(event)
        assert found.type == event["type"]
        if isinstance(event.get("response"), dict):
            Response.model_validate(event["response"], strict=True)


def test_a_stream_that_breaks_ends_with_a_failed_response():
    answering = parse(input="x").answering(SERVED)
    answering.chunk(TEXT_STREAM[1])
    (last,) = answering.failed({"message": "the engine died"})
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert TypeAdapter(ResponseStreamEvent).validate_python(last).response.error.message == "the engine died"


def test_pictures_that_a_call_gives_come_behind_it():
    picture = {"type": "input_image", "image_url": "data:image/png;base64,QUJD"}
    output = [{"type": "input_text", "text": "a map"}, picture]
    given = [
        {"role": "user", "content": "where?"},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": output},
    ]
    *_, told, seen = messages(given)
    assert told == {"role": "tool", "tool_call_id": "a", "content": "a map"}
    assert seen == {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}],
    }


def test_an_empty_answer_is_complete_all_the_same():
    found = events_of([chunk({"role": "assistant"}), chunk({}, "stop"), USAGE])
    assert [event["type"] for event in found] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]


@given(st.lists(st.integers(0, 2000), max_size=8))
def test_any_split_of_the_stream_gives_the_same_events(cuts):
    def stable(events):
        text = json.dumps(events)
        text = re.sub(r'"(resp|msg|fc|rs)_[0-9a-f]{32}"', '"id"', text)
        return re.sub(r'"(created|completed)_at": \d+', '"at": 0', text)

    assert stable(events_of(TOOL_STREAM, cuts)) == stable(events_of(TOOL_STREAM))

"""Anthropic's messages in OpenAI's words, and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import Unsupported
from mrpack_runtime.gateway.events import TranslatedEvents
from mrpack_runtime.protocols import NAMED_EVENTS
from mrpack_runtime.protocols.anthropic.answer import MessageAnswer, anthropic_error
from mrpack_runtime.protocols.anthropic.request import parse_message_request
from mrpack_runtime.protocols.refusal import RequestRefused
from tests.fakes.chat_events import TEXT_STREAM, TOOL_STREAM, USAGE, as_sse, chunk, pieces, whole

TOOL = {"name": "get_weather", "description": "Weather", "input_schema": {"type": "object"}}


def request(messages, **rest):
    return {"model": "m", "max_tokens": 9, "messages": messages, **rest}


def chat(messages, **rest):
    return parse_message_request(request(messages, **rest)).body


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([{"role": "user", "content": "hi"}], [{"role": "user", "content": "hi"}]),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            [{"role": "user", "content": "a\nb"}],
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"},
                        },
                        {"type": "text", "text": "what?"},
                    ],
                }
            ],
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                        {"type": "text", "text": "what?"},
                    ],
                }
            ],
        ),
        (
            [
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "s"},
                        {"type": "text", "text": "I look."},
                        {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Zürich"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "and?"},
                        {"type": "tool_result", "tool_use_id": "t1", "content": "12 °C"},
                    ],
                },
            ],
            [
                {
                    "role": "assistant",
                    "content": "I look.",
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {
                            "id": "t1",
                            "type": "function",
                            "function": {"name": "get_weather", "arguments": '{"city": "Zürich"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "t1", "content": "12 °C"},
                {"role": "user", "content": "and?"},
            ],
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "t1",
                            "is_error": True,
                            "content": [{"type": "text", "text": "no net"}],
                        }
                    ],
                }
            ],
            [{"role": "tool", "tool_call_id": "t1", "content": "Error: no net"}],
        ),
    ],
)
def test_messages_become_a_chat(given, found):
    assert chat(given)["messages"] == found


def test_the_rest_of_a_request_has_its_place():
    body = chat(
        [{"role": "user", "content": "hi"}],
        system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
        stop_sequences=["END"],
        temperature=0.5,
        top_k=3,
        stream=True,
        tools=[TOOL],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        thinking={"type": "enabled", "budget_tokens": 1024},
        output_config={
            "effort": "low",
            "format": {"type": "json_schema", "schema": {"type": "object"}},
        },
        min_p=0.1,
        metadata={"user_id": "x"},
    )
    assert body["messages"][0] == {"role": "system", "content": "Be brief.\n\nBe kind."}
    assert (body["max_tokens"], body["stop"], body["temperature"], body["top_k"]) == (9, ["END"], 0.5, 3)
    assert (body["stream"], body["stream_options"]["include_usage"]) == (True, True)
    assert body["tools"][0]["function"]["parameters"] == {"type": "object"}
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("required", False)
    assert body["chat_template_kwargs"] == {"enable_thinking": True}
    assert (body["thinking_budget_tokens"], body["reasoning_effort"]) == (1024, "low")
    assert body["response_format"]["type"] == "json_schema"
    assert body["min_p"] == 0.1  # what we do not know is the engine's
    assert "metadata" not in body
    assert not {"system", "stop_sequences", "thinking", "output_config", "model"} & body.keys()


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "get_weather"}, "required"),
    ],
)
def test_tool_choice(choice, found):
    assert chat([{"role": "user", "content": "x"}], tools=[TOOL], tool_choice=choice)["tool_choice"] == found


def test_a_tool_that_has_to_be_called_is_the_only_one():
    other = {"name": "other", "input_schema": {"type": "object"}}
    choice = {"type": "tool", "name": "other"}
    body = chat([{"role": "user", "content": "x"}], tools=[TOOL, other], tool_choice=choice)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["other"]
    with pytest.raises(RequestRefused):
        chat([{"role": "user", "content": "x"}], tools=[TOOL], tool_choice=choice)


def test_what_changes_nothing_is_named():
    asked = parse_message_request(
        request([{"role": "user", "content": "x"}], metadata={}, service_tier="auto")
    )
    assert asked.ignored == ("metadata", "service_tier")


MARK = {"cache_control": {"type": "ephemeral"}}
MARKED_RESULT = {
    "type": "tool_result",
    "tool_use_id": "t1",
    "content": [{"type": "text", "text": "12", **MARK}],
}


@pytest.mark.parametrize(
    "change",
    [
        MARK,
        {"system": [{"type": "text", "text": "Be brief.", **MARK}]},
        {"tools": [{**TOOL, **MARK}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", **MARK}]}]},
        {"messages": [{"role": "user", "content": [MARKED_RESULT]}]},
    ],
)
def test_a_mark_for_caching_is_named_wherever_it_is(change):
    asked = parse_message_request(request([{"role": "user", "content": "x"}]) | change)
    assert asked.ignored == ("cache_control",)
    assert "cache_control" not in json.dumps(asked.body)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": {"type": "url", "url": "http://x/"}}],
                    }
                ]
            },
            "messages[0].content[0].source.type",
        ),
        ({"stream": "yes"}, "stream"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"thinking": {"type": "hard"}}, "thinking.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": "much"}}, "thinking.budget_tokens"),
        ({"output_config": {"effort": "much"}}, "output_config.effort"),
    ],
)
def test_a_wrong_field_is_named(change, param):
    with pytest.raises(RequestRefused) as caught:
        parse_message_request(request([{"role": "user", "content": "x"}]) | change)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "change",
    [
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"messages": [{"role": "user", "content": [{"type": "container_upload"}]}]},
        {"mcp_servers": [{"type": "url", "url": "https://tools.example.com", "name": "tools"}]},
    ],
)
def test_what_only_anthropic_runs_is_refused(change):
    with pytest.raises(Unsupported):
        parse_message_request(request([{"role": "user", "content": "x"}]) | change)


def test_a_whole_answer_becomes_a_message():
    answer = MessageAnswer("m", []).answer(whole("Hello", reasoning="hm"))
    assert answer["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "Hello"},
    ]
    assert (answer["type"], answer["role"], answer["model"]) == ("message", "assistant", "m")
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("end_turn", None)
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (3, 5)


@pytest.mark.parametrize(
    ("reason", "stop", "found"),
    [
        ("length", "", ("max_tokens", None)),
        ("stop", "END", ("stop_sequence", "END")),
        ("stop", "other", ("end_turn", None)),
        ("tool_calls", "", ("tool_use", None)),
    ],
)
def test_why_it_stopped(reason, stop, found):
    answer = MessageAnswer("m", ["END"]).answer(whole("x", reason=reason, stop_reason=stop))
    assert (answer["stop_reason"], answer["stop_sequence"]) == found


def events_of(stream, cuts=()):
    events = TranslatedEvents(MessageAnswer("m", []), NAMED_EVENTS, None)
    sent = b"".join(events.feed(piece) for piece in pieces(as_sse(stream), cuts)) + events.end()
    blocks = [block.split("\n") for block in sent.decode().split("\n\n") if block]
    found = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [name for name, _ in blocks] == [f"event: {event['type']}" for event in found]
    return found


def test_a_stream_with_thoughts_text_and_calls_has_its_events_in_order():
    found = events_of(TOOL_STREAM)
    assert [event["type"] for event in found] == [
        "message_start",
        *("content_block_start", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    starts = [event["content_block"] for event in found if event["type"] == "content_block_start"]
    assert [start["type"] for start in starts] == ["thinking", "text", "tool_use", "tool_use"]
    assert [event["index"] for event in found if "index" in event] == sorted(
        event["index"] for event in found if "index" in event
    )
    inputs = {}
    for event in found:
        if event.get("delta", {}).get("type") == "input_json_delta":
            inputs[event["index"]] = inputs.get(event["index"], "") + event["delta"]["partial_json"]
    assert [json.loads(text) for text in inputs.values()] == [{"city": "Bern"}, {}]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"
    assert (found[-2]["usage"]["input_tokens"], found[-2]["usage"]["output_tokens"]) == (3, 5)


@pytest.mark.parametrize(
    ("early", "tokens"),
    [
        (
            {"prompt_progress": {"total": 30, "cache": 10, "processed": 0, "time_ms": 0}},
            (20, 10),
        ),  # llama-server
        ({"usage": {"prompt_tokens": 30, "completion_tokens": 0, "total_tokens": 30}}, (30, 0)),  # vLLM
        ({}, (0, 0)),  # an engine that counts at the end
    ],
)
def test_the_start_has_the_tokens_of_the_prompt_where_the_engine_tells_them(early, tokens):
    first, *_, delta, _ = events_of([{**chunk({"role": "assistant"}), **early}, *TEXT_STREAM])
    usage = first["message"]["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (*tokens, 0)
    assert (delta["usage"]["input_tokens"], delta["usage"]["output_tokens"]) == (3, 5)


def test_a_long_prompt_is_told_by_pings():
    progress = [
        {**chunk({}), "prompt_progress": {"total": 30, "cache": 0, "processed": done}} for done in (0, 16, 30)
    ]
    kinds = [event["type"] for event in events_of([*progress, *TEXT_STREAM])]
    assert kinds[:4] == ["message_start", "ping", "ping", "content_block_start"]


def test_an_empty_answer_is_a_message_all_the_same():
    found = events_of([chunk({"role": "assistant"}), chunk({}, "stop"), USAGE])
    assert [event["type"] for event in found] == ["message_start", "message_delta", "message_stop"]


@given(st.lists(st.integers(0, 2000), max_size=8))
def test_any_split_of_the_stream_gives_the_same_events(cuts):
    def stable(events):
        return [event if event["type"] != "message_start" else "start" for event in events]

    assert stable(events_of(TOOL_STREAM, cuts)) == stable(events_of(TOOL_STREAM))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "not_found_error"),
        (409, "invalid_request_error"),
        (413, "request_too_large"),
        (502, "api_error"),
        (503, "overloaded_error"),
    ],
)
def test_errors_have_anthropics_shape(status, kind):
    assert anthropic_error(status, {"message": "no", "code": "x"}) == {
        "type": "error",
        "error": {"type": kind, "message": "no"},
    }


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "document", "source": {"type": "text", "data": "words"}}, "words"),
        (
            {
                "type": "document",
                "title": "A letter",
                "context": "from 1900",
                "source": {"type": "content", "content": [{"type": "text", "text": "Dear"}]},
            },
            "A letter\nfrom 1900\nDear",
        ),
        ({"type": "document", "source": {"type": "content", "content": "Dear"}}, "Dear"),
        (
            {
                "type": "search_result",
                "title": "T",
                "source": "wiki",
                "content": [{"type": "text", "text": "found"}],
            },
            "T\nwiki\nfound",
        ),
    ],
)
def test_documents_and_what_a_search_found_are_texts(block, text):
    assert chat([{"role": "user", "content": [block]}])["messages"] == [{"role": "user", "content": text}]
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [block]}
    (told,) = chat([{"role": "user", "content": [result]}])["messages"]
    assert told["content"] == text


def test_hints_that_change_nothing_are_named_with_their_place():
    document = {
        "type": "document",
        "source": {"type": "text", "data": "x"},
        "citations": {"enabled": True},
    }
    asked = parse_message_request(
        request(
            [{"role": "user", "content": [document]}],
            tools=[{**TOOL, "defer_loading": True}],
            thinking={"type": "adaptive", "display": "omitted"},
        )
    )
    assert asked.ignored == ("citations", "thinking.display", "tools.defer_loading")


def test_parts_of_no_kind_are_no_marks():
    block = {"type": "text", "text": "x", "content": [7, None]}
    assert parse_message_request(request([{"role": "user", "content": [block]}])).ignored == ()


@pytest.mark.parametrize(("limit", "reason"), [(5, "max_tokens"), (9, "model_context_window_exceeded")])
def test_an_answer_that_was_cut_before_its_limit_had_no_room(limit, reason):
    answer = MessageAnswer("m", [], limit).answer(whole("x", reason="length"))
    assert (answer["usage"]["output_tokens"], answer["stop_reason"]) == (5, reason)

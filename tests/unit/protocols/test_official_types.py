"""Requests that the official clients can make, and the answers that they expect: their types say which."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import ErrorResponse, Message, RawMessageStreamEvent, message_create_params
from ollama import ChatResponse, EmbedResponse, GenerateResponse
from openai.types.responses import Response, ResponseStreamEvent, response_create_params
from pydantic import TypeAdapter

from mrpack.errors import MrpackError
from mrpack_runtime.gateway.events import EventReader
from mrpack_runtime.protocols import Asked, JsonObject, Served
from mrpack_runtime.protocols.anthropic.answer import MessageAnswer
from mrpack_runtime.protocols.anthropic.request import parse_message_request
from mrpack_runtime.protocols.ollama.answer import ChatAnswer, EmbedAnswer, GenerateAnswer
from mrpack_runtime.protocols.responses.history import History
from mrpack_runtime.protocols.responses.request import parse_response_request
from tests.fakes.chat_events import TEXT_STREAM, TOOL_STREAM, as_sse, whole

HI = [{"role": "user", "content": "hi"}]
# What goes to the engine under the same name.
SHARED = {
    *("messages", "max_tokens", "tools", "tool_choice", "parallel_tool_calls", "stream", "stream_options"),
    *("temperature", "top_p", "top_k"),
}
SERVED = Served(model="m", asked_at=0.0, ready_at=1.0, clock=lambda: 2.0)
STREAMS = [TEXT_STREAM, TOOL_STREAM]


def respond(body: JsonObject) -> Asked:
    return parse_response_request(body, History())


def fields_of(*classes: type) -> list[str]:
    return sorted({name for kind in classes for name in kind.__annotations__})


@pytest.mark.parametrize(
    ("parse", "body", "name"),
    [
        *(
            (parse_message_request, {"messages": HI, "max_tokens": 9}, name)
            for name in fields_of(message_create_params.MessageCreateParamsBase)
        ),
        *(
            (respond, {"input": "hi"}, name)
            for name in fields_of(response_create_params.ResponseCreateParamsBase)
        ),
    ],
)
@pytest.mark.parametrize("value", [{}, "x", ["x"], True])
def test_no_field_of_an_api_reaches_an_engine_that_does_not_know_it(
    parse: Any, body: JsonObject, name: str, value: Any
) -> None:
    try:
        asked = parse({"model": "m", **body, name: value})
    except MrpackError:
        return
    assert name not in asked.body or name in SHARED


def events(stream: Any) -> list[JsonObject]:
    return EventReader().feed(as_sse(stream))


def sent(answering: Any, stream: Any) -> list[JsonObject]:
    return [*(out for event in events(stream) for out in answering.chunk(event)), *answering.end()]


@pytest.mark.parametrize("stream", STREAMS)
def test_events_are_those_of_the_official_clients(stream: Any) -> None:
    claude: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    for event in sent(MessageAnswer("m", [], 9), stream):
        claude.validate_python(event, strict=True)
    openai: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    for event in sent(respond({"model": "m", "input": "hi"}).answering(SERVED), stream):
        openai.validate_python(event)
    for line in sent(ChatAnswer(SERVED), stream):
        ChatResponse.model_validate(line)
    for line in sent(GenerateAnswer(SERVED), stream):
        GenerateResponse.model_validate(line)


def test_a_stream_that_breaks_ends_with_an_event_of_theirs():
    error = {"message": "the engine died", "code": "engine_failed"}
    first = events(TEXT_STREAM)[1]
    answering = respond({"model": "m", "input": "hi"}).answering(SERVED)
    sent = [*answering.chunk(first), *answering.failed(error)]
    openai: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    assert [openai.validate_python(event).sequence_number for event in sent] == list(range(len(sent)))
    assert sent[-1]["response"]["error"]["message"] == "the engine died"
    (told,) = MessageAnswer("m", [], 9).failed(error)
    assert ErrorResponse.model_validate(told).error.message == "the engine died"


def test_answers_are_those_of_the_official_clients() -> None:
    engine = whole("Hello", reasoning="hm")
    Message.model_validate(MessageAnswer("m", [], 9).answer(engine), strict=True)
    Response.model_validate(respond({"model": "m", "input": "hi"}).answering(SERVED).answer(engine))
    chat = ChatResponse.model_validate(ChatAnswer(SERVED).answer(engine))
    assert (chat.message.content, chat.message.thinking, chat.done) == ("Hello", "hm", True)
    assert GenerateResponse.model_validate(GenerateAnswer(SERVED).answer(engine)).response == "Hello"
    vectors = {"data": [{"embedding": [1.0]}], "usage": {"prompt_tokens": 2, "total_tokens": 2}}
    assert EmbedResponse.model_validate(EmbedAnswer(SERVED).answer(vectors)).prompt_eval_count == 2

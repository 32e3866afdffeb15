"""Requests of the right shape with wrong fields, on every route that takes a body: never a bug."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrpack.errors import MrpackError
from mrpack_runtime.gateway.metrics import Family, parse, render
from mrpack_runtime.gateway.routes import mounted
from mrpack_runtime.protocols import Asked, Served
from mrpack_runtime.protocols.anthropic.request import parse_message_request
from mrpack_runtime.protocols.dmr import parse_settings
from mrpack_runtime.protocols.ollama.request import (
    parse_chat,
    parse_embed,
    parse_generate,
    parse_legacy_embed,
)
from mrpack_runtime.protocols.reranking import parse_rerank, parse_score
from mrpack_runtime.protocols.responses.history import History
from mrpack_runtime.protocols.responses.request import parse_response_request
from mrpack_runtime.protocols.tokens import parse_detokenize, parse_tokenize
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import gateway

TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
# A request with everything in it, for each API.
BODIES: dict[str, dict[str, Any]] = {
    "anthropic": {
        "max_tokens": 9,
        "system": [{"type": "text", "text": "s"}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="},
                    },
                    {"type": "document", "source": {"type": "text", "data": "d"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t"},
                    {"type": "tool_use", "id": "i", "name": "n", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "i",
                        "is_error": True,
                        "content": [{"type": "text", "text": "r"}],
                    }
                ],
            },
        ],
        "stop_sequences": ["s"],
        "stream": True,
        "tools": [{"name": "n", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "n", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled"},
        "output_config": {"format": {"type": "json_schema", "schema": {}}},
    },
    "responses": {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]},
            {"type": "reasoning", "summary": [{"text": "t"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "o"}]},
        ],
        "instructions": "i",
        "max_output_tokens": 9,
        "tools": [TOOL],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
        "reasoning": {"effort": "low"},
        "stream": True,
        "store": False,
        "truncation": "disabled",
    },
    "ollama chat": {
        "messages": [
            {"role": "user", "content": "x", "images": ["QQ=="]},
            {
                "role": "assistant",
                "thinking": "t",
                "tool_calls": [{"function": {"name": "f", "arguments": {}}}],
            },
            {"role": "tool", "tool_name": "f", "tool_call_id": "i", "content": "r"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "format": {"type": "object"},
        "think": True,
        "options": {"num_predict": 1, "stop": ["a"]},
        "stream": True,
        "keep_alive": "5m",
    },
    "ollama generate": {
        "prompt": "p",
        "system": "s",
        "images": ["QQ=="],
        "raw": False,
        "suffix": "",
        "stream": True,
    },
    "ollama embed": {"input": ["x"], "dimensions": 3, "options": {"num_ctx": 1}},
    "ollama embeddings": {"prompt": "x"},
    "rerank": {"query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": True},
    "score": {"text_1": ["q"], "text_2": ["a"]},
    "tokenize": {"messages": [{"role": "user"}], "prompt": "x"},
    "detokenize": {"tokens": [1]},
    "configure": {
        "context-size": 512,
        "keep_alive": "5m",
        "mode": "completion",
        "runtime-flags": ["--batch-size", "128"],
        "raw-runtime-flags": "--temp 0.5",
        "vllm": {"hf-overrides": {"a": 1}, "gpu-memory-utilization": 0.5},
        "llamacpp": {"reasoning-budget": 0},
    },
}
JUNK = (None, True, 7, -1, 0.5, "", "junk", [], {}, [7], ["x"], [[]], {"type": []}, {"x": {}})
LEAVES = st.none() | st.booleans() | st.integers(-2, 9) | st.sampled_from(["stop", "length", "x"])
KEYS = st.sampled_from(
    ["content", "tool_calls", "function", "name", "arguments", "index", "id", "reasoning_content"]
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
PARSERS = {
    "anthropic": parse_message_request,
    "responses": lambda body: parse_response_request(body, History()),
    "ollama chat": parse_chat,
    "ollama generate": parse_generate,
    "ollama embed": parse_embed,
    "ollama embeddings": parse_legacy_embed,
    "rerank": parse_rerank,
    "score": parse_score,
    "tokenize": parse_tokenize,
    "detokenize": parse_detokenize,
    "configure": lambda body: parse_settings(body, "llamacpp"),
}
SERVED = Served(model="m", asked_at=0.0, ready_at=0.0, clock=lambda: 0.0)


def spoiled(value: Any) -> Iterator[Any]:
    """`value` with any one part of it, at any depth, replaced by junk, or left out."""
    yield from JUNK
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {name: item for name, item in value.items() if name != key}
            for junk in spoiled(inner):
                yield {**value, key: junk}
    if isinstance(value, list):
        for i, inner in enumerate(value):
            for junk in spoiled(inner):
                yield [*value[:i], junk, *value[i + 1 :]]


@pytest.mark.parametrize("name", PARSERS)
def test_a_body_is_understood_or_refused(name):
    assert PARSERS[name]({"model": "m", **BODIES[name]}) is not None
    for key, value in BODIES[name].items():
        for junk in spoiled(value):
            body = {"model": "m", **BODIES[name], key: junk}
            try:
                asked = PARSERS[name](body)
            except MrpackError as error:
                assert error.http_status in {400, 501}, (key, junk)  # noqa: PT017  # which is the point
                continue
            except Exception as bug:
                raise AssertionError(f"{key}: {junk}") from bug
            if isinstance(asked, Asked):
                assert json.dumps(asked.body)


@pytest.mark.parametrize("name", ["anthropic", "responses", "ollama chat", "ollama generate"])
@settings(max_examples=40, deadline=None)
@given(events=st.lists(VALUES, max_size=4))
def test_whatever_an_engine_says_becomes_an_answer(name, events):
    given_body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "input": "x"}
    asked = PARSERS[name](given_body | ({} if name == "responses" else {"prompt": "x"}))
    answering = asked.answering(SERVED)
    for event in events:
        choice = {"choices": [{"delta": event, "message": event, "finish_reason": event}], "usage": event}
        for sent in answering.chunk(choice):
            asked.framing.encode(sent)
    for sent in answering.end():
        asked.framing.encode(sent)
    asked.answering(SERVED).answer({"choices": events})


def test_no_route_answers_junk_with_a_bug(short_folder):
    """Status 500 is a bug of ours; what the engine does not know it says itself."""
    bodies: list[Any] = [{}, {"model": "fake"}, {"model": 7}, {"model": "fake", "messages": 7, "input": 7}]
    bodies.append({"models": ["fake"], "backend": [], "from": [], "source": [], "destination": 7})

    async def main() -> None:
        async with gateway(short_folder, FakeEngine(name="llama.cpp")) as g:
            for path, route in mounted():
                if route.method == "GET" or "images" in path:
                    continue
                asked = path.replace("{engine}", "llama.cpp").replace("{model}", "fake").replace("{id}", "x")
                for body in bodies:
                    content = json.dumps(body).encode()
                    headers = {"Content-Type": "application/json"}
                    answer = await g.client.request(route.method, asked, content, headers)
                    assert answer.status != 500, (path, body, answer.body)

    asyncio.run(main())


def test_metrics_of_an_engine_keep_their_families_and_get_labels():
    text = (
        "# HELP a_seconds How long.\n# TYPE a_seconds histogram\n"
        'a_seconds_bucket{le="1.0"} 1\na_seconds_bucket{le="+Inf"} 2\na_seconds_sum 3.5\na_seconds_count 2\n'
        '# TYPE b_total counter\nb_total{path="C:\\\\x \\"y\\"",model="theirs"} 7 1700000000\n'
        "broken{ 1\nc NaN\n"
    )
    labels = (("model", "ours"),)
    families = parse(text, labels)
    assert [family.name for family in families] == ["a_seconds", "b_total", "c"]
    again = render(families)
    assert 'a_seconds_bucket{le="1.0",model="ours"} 1' in again
    assert 'b_total{path="C:\\\\x \\"y\\"",model="ours"} 7' in again
    assert render(parse(again, ())) == again
    twice = render((*families, *parse(text, (("model", "other"),))))
    assert twice.count("# TYPE a_seconds histogram") == 1
    assert (
        render((Family("empty", "gauge", "Nothing.", ()),)) == "# HELP empty Nothing.\n# TYPE empty gauge\n"
    )

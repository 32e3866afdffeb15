"""What llama.cpp can do, through every launcher: each works, or is refused in words."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrpack.errors import EngineFailed, Unsupported
from mrpack_runtime.engine import EngineSettings, ModelBundle, Operation
from tests.fakes.tiny_gguf import (
    ADAPTED_ANSWER,
    ANSWER,
    TOOL_TEMPLATE,
    write_lora,
    write_markov,
    write_reranker,
    write_tool_caller,
)
from tests.integration.launchers import CHAT, HELLO, LAUNCHERS, Answer, Setup, bundle, make_setup

pytestmark = pytest.mark.engine

PYTHON = "llama-cpp-python"
COMPLETIONS, EMBEDDINGS, RERANK = "/v1/completions", "/v1/embeddings", "/v1/rerank"
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "now", "parameters": CITY}}]
NAMED = {"type": "function", "function": {"name": "weather"}}
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CALLED = [
    *HELLO["messages"],
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "1", "content": "sunny"},
]
LONG = "word " * 500


@pytest.fixture(params=LAUNCHERS)
def setup(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return make_setup(request.param, tmp_path_factory.mktemp("r") / "e")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """It talks in ChatML with tools, as real models do."""
    folder = tmp_path_factory.mktemp("features")
    template = folder / "template.jinja"
    template.write_text(TOOL_TEMPLATE)
    return bundle(write_markov(folder), chat_template=template)


def text(answer: Answer) -> Any:
    return answer.content.strip()


def document(answer: Answer) -> Any:
    return json.loads(answer.content)


def opening(answer: Answer) -> Any:
    return answer.content[:1]


def code(answer: Answer) -> Any:
    """As the gateway completes it (test_gateway_llamacpp.py)."""
    error = answer.body["error"]
    types = {"exceed_context_size_error": "context_length_exceeded"}
    return types.get(error["type"], error["code"])


def width(answer: Answer) -> Any:
    return [len(row["embedding"]) for row in answer.body["data"]]


def kinds(answer: Answer) -> Any:
    return [type(row["embedding"]).__name__ for row in answer.body["data"]]


def alternatives(answer: Answer) -> Any:
    return [len(token["top_logprobs"]) for token in answer.body["choices"][0]["logprobs"]["content"]]


def count(answer: Answer) -> Any:
    return len(answer.body["choices"])


def refused(answer: Answer) -> Any:
    return bool(answer.body["error"]["message"])


SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": CITY}}
SHORT = {"max_tokens": 40}
# llama.cpp's grammar of a document lets up to 22 blanks follow each of its signs, and they are thrown for.
WITH_BLANKS = {"max_tokens": 200}
# path, body, then the status and what is looked at; the last two again where llama_cpp.server differs
FEATURES: dict[str, tuple[Any, ...]] = {
    "json schema": (
        *(CHAT, {**HELLO, **WITH_BLANKS, "response_format": SCHEMA}, 200),
        *(document, {"city": "Rome"}),
    ),
    "json object": (CHAT, {**HELLO, **SHORT, "response_format": {"type": "json_object"}}, 200, opening, "{"),
    "grammar": (CHAT, {**HELLO, "grammar": 'root ::= "yes"'}, 200, text, "yes"),
    "broken grammar": (CHAT, {**HELLO, "grammar": "root ::= ("}, 400, refused, True),
    "tools that are not called": (CHAT, {**HELLO, "tools": TOOLS}, 200, text, ANSWER.strip()),
    "tools that may not be called": (
        CHAT,
        {**HELLO, "tools": TOOLS, "tool_choice": "none"},
        *(200, text, ANSWER.strip()),
    ),
    "a result of a tool": (CHAT, {"messages": CALLED, "tools": TOOLS, **SHORT}, 200, count, 1),
    "biases of tokens": (CHAT, {**HELLO, "logit_bias": {"358": -100}, "max_tokens": 3}, 200, count, 1),
    "probabilities": (
        *(CHAT, {**HELLO, "logprobs": True, "top_logprobs": 2, "max_tokens": 2}, 200, alternatives, [2, 2]),
        *(501, refused, True),
    ),
    "several answers": (CHAT, {**HELLO, "n": 2, **SHORT}, 200, count, 2, 501, refused, True),
    "a long chat": (
        CHAT,
        {"messages": [{"role": "user", "content": LONG}]},
        400,
        code,
        "context_length_exceeded",
    ),
    "a long prompt": (COMPLETIONS, {"prompt": LONG}, 400, code, "context_length_exceeded"),
    "several embeddings": (EMBEDDINGS, {"input": ["one", "two", "three"]}, 200, width, [64, 64, 64]),
    "packed embeddings": (EMBEDDINGS, {"input": ["one"], "encoding_format": "base64"}, 200, kinds, ["str"]),
    "embeddings of tokens": (EMBEDDINGS, {"input": [5, 6, 7]}, 200, width, [64], 501, refused, True),
    "reranking with a model for chat": (RERANK, {"query": "a", "documents": ["b"]}, 501, refused, True),
}


def test_each_feature_works_or_is_refused_in_words(setup, model):
    found, wanted = {}, {}

    async def scenario():
        async with setup.client(model) as client:
            for name, (path, body, *expected) in FEATURES.items():
                status, look, value = expected[-3:] if setup.launcher == PYTHON else expected[:3]
                answer = await client.post(path, body)
                found[name] = (answer.status, look(answer) if answer.status == status else answer.body)
                wanted[name] = (status, value)
            assert text(await client.post(CHAT, HELLO)) == ANSWER.strip(), "it lives after all that"

    asyncio.run(scenario())
    assert found == wanted


def calls(answer: Answer) -> list[Any]:
    """Of a whole answer, or of a stream put together: name, arguments and why it ended."""
    if answer.body is not None:
        choice = answer.body["choices"][0]
        functions = [call["function"] for call in choice["message"].get("tool_calls") or ()]
        return [(one["name"], json.loads(one["arguments"]), choice["finish_reason"]) for one in functions]
    choices = [event["choices"][0] for event in answer.events if event != "[DONE]" and event["choices"]]
    deltas = [call for choice in choices for call in choice["delta"].get("tool_calls") or ()]
    name = next(call["function"]["name"] for call in deltas if call["function"].get("name"))
    arguments = "".join(call["function"].get("arguments") or "" for call in deltas)
    return [(name, json.loads(arguments), choices[-1]["finish_reason"])]


@pytest.mark.parametrize("choice", ["auto", "required", NAMED], ids=["auto", "required", "named"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_model_calls_a_function(setup, model, tmp_path, choice, stream):
    """llama_cpp.server makes a model call a function, but does not see when it does so by itself."""
    if setup.launcher == PYTHON:
        if choice == "auto":
            pytest.skip("docs/engines.md says so")
        caller = model
    else:
        caller = bundle(write_tool_caller(tmp_path))
    body = {**HELLO, "tools": TOOLS, "tool_choice": choice, "stream": stream, "max_tokens": 80}

    async def scenario():
        async with setup.client(caller) as client:
            answer = await client.post(CHAT, body)
            assert answer.status == 200, answer.body
            (call,) = calls(answer)
            assert call[:2] == ("weather", {"city": "Rome"})
            assert call[2] == "tool_calls"

    asyncio.run(scenario())


def test_a_reranker_ranks_documents(setup, tmp_path):
    settings = EngineSettings(threads=1, operation=Operation.RERANKING)
    reranker = bundle(write_reranker(tmp_path))

    async def scenario():
        if setup.launcher == PYTHON:
            with pytest.raises(Unsupported, match="no reranking"):
                setup.process(reranker, settings)
            return
        async with setup.client(reranker, settings) as client:
            documents = ["hello", "a tiny model.", "from a"]
            answer = await client.post(RERANK, {"query": "x", "documents": documents, "top_n": 2})
            assert answer.status == 200, answer.body
            first, second = answer.body["results"]
            assert first["index"] == 1
            assert first["relevance_score"] > second["relevance_score"]

    asyncio.run(scenario())


def test_an_adapter_is_scaled_by_the_request(setup, model, tmp_path):
    if setup.launcher == PYTHON:
        pytest.skip("llama_cpp.server has one adapter, always whole")
    adapted = replace(model, adapters=(write_lora(tmp_path),))

    async def scenario():
        async with setup.client(adapted) as client:
            assert text(await client.post(CHAT, HELLO)) == ADAPTED_ANSWER.strip()
            without = await client.post(CHAT, {**HELLO, "lora": [{"id": 0, "scale": 0.0}]})
            assert text(without) == ANSWER.strip()

    asyncio.run(scenario())


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_how_tokens_become_one_embedding_can_be_chosen(setup, model, pooling):
    async def scenario():
        async with setup.client(model, EngineSettings(threads=1, own={"pooling": pooling})) as client:
            one, same_end, same_begin = [
                (await client.post(EMBEDDINGS, {"input": text})).body["data"][0]["embedding"]
                for text in ("a b c", "x y c", "a b z")
            ]
            assert len(one) == 64
            assert (one == pytest.approx(same_end)) == (pooling != "mean")
            assert (one == pytest.approx(same_begin)) == (pooling == "cls")

    asyncio.run(scenario())


@pytest.mark.parametrize("guess", ["ngram-simple", "ngram-cache"])
def test_guessing_ahead_changes_no_answer(setup, model, guess):
    async def scenario():
        async with setup.client(model, EngineSettings(threads=1, own={"speculative": guess})) as client:
            for _ in range(2):
                assert text(await client.post(CHAT, HELLO)) == ANSWER.strip()

    asyncio.run(scenario())


def wrong_models(folder: Path) -> dict[str, Path]:
    whole = write_markov(folder).read_bytes()
    texts = {
        "cut.gguf": whole[:60_000],
        "other.gguf": b"PK\x03\x04" + bytes(1000),
        "newer.gguf": b"GGUF" + (99).to_bytes(4, "little") + whole[8:],
    }
    for name, content in texts.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in (*texts, "missing.gguf")}


def test_a_model_that_does_not_load_is_one_line_with_the_engines_own_words(setup, model, tmp_path):
    async def scenario():
        for name, path in wrong_models(tmp_path).items():
            process = setup.process(replace(model, weights=(path,)))
            with pytest.raises(EngineFailed, match=r"^llama\.cpp did not start: ") as caught:
                await process.ensure_ready()
            assert "\n" not in str(caught.value)
            assert caught.value.exit_status == 1
            assert caught.value.log_tail, name

    asyncio.run(scenario())

"""Through `mrpack serve`, with every launcher: pictures in each API, calls, long inputs, adapters."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.fakes.llama_cpp_python import ensure_environment
from tests.fakes.tiny_gguf import ADAPTED_ANSWER, ANSWER, write_lora, write_markov, write_mmproj
from tests.integration.launchers import HELLO, native_server
from tests.integration.served import serving
from tests.program import Mrpack

pytestmark = pytest.mark.engine

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
PARTS = (
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% endfor %}assistant:"
)
QUESTION = "What is this?"
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def picture() -> str:
    content = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


BROKEN = base64.b64encode(b"\x89PNG\r\n\x1a\nand no more").decode()


def openai_request(data: str) -> tuple[str, dict[str, Any]]:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    content = [{"type": "text", "text": QUESTION}, image]
    return CHAT, {"messages": [{"role": "user", "content": content}]}


def anthropic_request(data: str) -> tuple[str, dict[str, Any]]:
    source = {"type": "base64", "media_type": "image/png", "data": data}
    content = [{"type": "text", "text": QUESTION}, {"type": "image", "source": source}]
    return "/anthropic/v1/messages", {"max_tokens": 40, "messages": [{"role": "user", "content": content}]}


def ollama_request(data: str) -> tuple[str, dict[str, Any]]:
    return "/api/chat", {
        "stream": False,
        "messages": [{"role": "user", "content": QUESTION, "images": [data]}],
    }


# How a picture is sent, and where the answer is.
APIS: dict[str, tuple[Callable[[str], tuple[str, dict[str, Any]]], Callable[[Any], str]]] = {
    "openai": (openai_request, lambda body: body["choices"][0]["message"]["content"]),
    "anthropic": (anthropic_request, lambda body: body["content"][0]["text"]),
    "ollama": (ollama_request, lambda body: body["message"]["content"]),
}


@pytest.fixture(
    params=[
        "xllamacpp",
        pytest.param("native", marks=pytest.mark.slow),
        pytest.param("llama-cpp-python", marks=pytest.mark.slow),
    ]
)
def launcher(request: pytest.FixtureRequest, mrpack: Mrpack, home: Path) -> str:
    """The one that a new user gets, a program on PATH, and an environment as install-runner makes it."""
    mrpack.environment["MRPACK_HOME"] = str(home / "mrpack")
    if request.param == "native":
        mrpack.environment["PATH"] = f"{native_server().parent}{os.pathsep}{os.environ['PATH']}"
    elif request.param == "llama-cpp-python":
        (home / "mrpack" / "engines").mkdir(parents=True)
        (home / "mrpack" / "engines" / "llama.cpp").symlink_to(ensure_environment())
    return request.param


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "template.jinja").write_text(PARTS)
    write_markov(folder).rename(folder / "model.gguf")
    write_mmproj(folder).rename(folder / "mmproj.gguf")
    write_lora(folder).rename(folder / "lora.gguf")
    return folder


def test_pictures_are_answered_in_every_api_and_refused_where_nothing_sees(launcher, mrpack, files):
    seeing = ("--mmproj", files / "mmproj.gguf", "--chat-template", files / "template.jinja")
    mrpack("package", "--gguf", files / "model.gguf", *seeing, "seeing")
    mrpack("package", "--gguf", files / "model.gguf", "blind")
    with serving(mrpack, "--threads", "1") as served:
        for api, (ask, answer_of) in APIS.items():
            path, body = ask(picture())
            status, answer = served.post(path, {"model": "seeing", **body})
            assert status == 200, (api, answer)
            assert answer_of(answer).strip() == ANSWER.strip(), api
            status, answer = served.post(path, {"model": "blind", **body})
            assert status == 400, (api, answer)
            assert "this model takes text only" in json.dumps(answer), api
            path, body = ask(BROKEN)
            status, answer = served.post(path, {"model": "seeing", **body})
            assert status == 400, (api, answer)
            assert "image" in json.dumps(answer), (api, answer)
        status, answer = served.post(CHAT, {"model": "seeing", **HELLO})
        assert status == 200, "it lives after all that"


def test_how_likely_tokens_are_is_told_as_openai_does(launcher, mrpack, files):
    mrpack("package", "--gguf", files / "model.gguf", "tiny")
    asked = {"model": "tiny", "prompt": "Who are you?", "max_tokens": 4, "temperature": 0, "logprobs": 2}
    chat = {"model": "tiny", **HELLO, "max_tokens": 4, "temperature": 0, "logprobs": True}
    response = {"model": "tiny", "input": "Who are you?", "max_output_tokens": 4, "top_logprobs": 2}
    with serving(mrpack, "--threads", "1") as served:
        status, answer = served.post("/v1/completions", asked)
        if launcher == "llama-cpp-python":
            assert (status, served.post(CHAT, chat)[0]) == (501, 501), answer
            assert served.post("/v1/responses", response)[0] == 501
            return
        choice = answer["choices"][0]
        odds = choice["logprobs"]
        assert "".join(odds["tokens"]) == choice["text"]
        starts = [len("".join(odds["tokens"][:count])) for count in range(4)]
        assert odds["text_offset"] == starts
        assert [len(others) for others in odds["top_logprobs"]] == [2] * 4
        assert all(
            others[token] == logprob
            for token, logprob, others in zip(
                odds["tokens"], odds["token_logprobs"], odds["top_logprobs"], strict=True
            )
        )
        _, events = served.post("/v1/completions", {**asked, "stream": True})
        *chunks, end = events
        told = [json.loads(chunk)["choices"][0]["logprobs"] for chunk in chunks]
        assert end == "[DONE]"
        for name in ("tokens", "text_offset"):
            assert [value for one in told if one for value in one[name]] == odds[name]
        # llama-server begins with an event of nothing.
        for several in ({**asked, "logprobs": None}, asked):
            _, events = served.post("/v1/completions", {**several, "prompt": ["Who", "are"], "stream": True})
            *chunks, end = events
            found = [json.loads(chunk)["choices"][0]["index"] for chunk in chunks]
            assert (set(found), end) == ({0, 1}, "[DONE]")
        _, alone = served.post("/v1/completions", {**asked, "logprobs": 0})
        assert alone["choices"][0]["logprobs"]["tokens"] == odds["tokens"]
        _, answer = served.post(CHAT, chat)
        content = answer["choices"][0]["logprobs"]["content"]
        assert [token["top_logprobs"] for token in content] == [[]] * 4
        _, answer = served.post("/v1/responses", response)
        part = answer["output"][0]["content"][0]
        assert "".join(token["token"] for token in part["logprobs"]) == part["text"]
        assert [len(token["top_logprobs"]) for token in part["logprobs"]] == [2] * 4
        _, events = served.post("/v1/responses", {**response, "stream": True})
        ended = json.loads(events[-1])["response"]["output"][0]["content"][0]
        assert ended == part


def test_nulls_of_messages_and_functions_say_nothing(launcher, mrpack, files):
    mrpack("package", "--gguf", files / "model.gguf", "tiny")
    functions = [{"type": "function", "function": {"name": "weather", "description": None}}]
    messages = [{"role": "user", "content": "Who are you?", "name": None}]
    with serving(mrpack, "--threads", "1") as served:
        for path in (CHAT, "/v1/tokenize", "/v1/apply-template"):
            body = {"model": "tiny", "messages": messages, "tools": functions}
            status, answer = served.post(path, body)
            # llama_cpp.server has no word for the text of a chat.
            assert status == (501 if launcher == "llama-cpp-python" and path != CHAT else 200), answer


def test_tokens_beyond_the_vocabulary_are_refused_by_an_engine_that_lives(launcher, mrpack, files):
    mrpack("package", "--gguf", files / "model.gguf", "tiny")
    with serving(mrpack, "--threads", "1") as served:
        assert served.post("/detokenize", {"model": "tiny", "tokens": []})[0] == 200
        (before,) = served.ps()
        for token in (99_999, 2**31 - 1):
            status, answer = served.post("/detokenize", {"model": "tiny", "tokens": [1, token]})
            assert status == 400, answer
        (after,) = served.ps()
        assert after["pid"] == before["pid"]


def test_a_model_that_judges_nothing_ranks_nothing(launcher, mrpack, files):
    mrpack("package", "--gguf", files / "model.gguf", "tiny")
    with serving(mrpack, "--threads", "1") as served:
        status, answer = served.post("/v1/rerank", {"model": "tiny", "query": "a", "documents": ["b"]})
        assert (status, answer["error"]["code"]) == (501, "unsupported"), answer
        assert "not made to rank" in answer["error"]["message"]
        assert not served.ps(), "nothing was loaded for that"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_call_that_a_model_cannot_be_made_to_make_is_refused(launcher, mrpack, files, choice):
    mrpack("package", "--gguf", files / "model.gguf", "tiny")
    with serving(mrpack, "--threads", "1") as served:
        body = {"model": "tiny", **HELLO, "tools": TOOLS, "max_tokens": 40}
        status, answer = served.post(CHAT, {**body, "tool_choice": choice})
        if launcher == "llama-cpp-python":  # it has a grammar for any model
            assert status == 200, answer
            assert answer["choices"][0]["message"]["tool_calls"]
        else:
            assert (status, answer["error"]["param"]) == (400, "tool_choice"), answer
            assert "chat template knows no tools" in answer["error"]["message"]
        assert served.post(CHAT, {**body, "tool_choice": "auto"})[0] == 200


def test_an_input_beyond_one_computation_is_the_clients_fault(launcher, mrpack, files):
    mrpack("package", "--gguf", files / "model.gguf", "tiny")
    mrpack("configure", "tiny", "llamacpp.ubatch_size=64", "llamacpp.batch_size=64")
    with serving(mrpack, "--threads", "1") as served:
        status, answer = served.post(EMBEDDINGS, {"model": "tiny", "input": "word " * 200})
        assert (status, answer["error"]["code"]) == (400, "context_length_exceeded"), answer
        assert "1002 tokens" in answer["error"]["message"] or launcher == "llama-cpp-python", answer


def test_the_scale_of_adapters_is_a_setting(launcher, mrpack, files):
    mrpack("package", "--gguf", files / "model.gguf", "--lora", files / "lora.gguf", "adapted")
    mrpack("package", "--gguf", files / "model.gguf", "plain")
    with serving(mrpack, "--threads", "1") as served:
        for scale, words in ((None, ADAPTED_ANSWER), ("0", ANSWER), ("1", ADAPTED_ANSWER)):
            if scale is not None:
                mrpack("configure", "adapted", f"llamacpp.lora_scale={scale}")
            status, answer = served.post(CHAT, {"model": "adapted", **HELLO})
            assert status == 200, answer
            assert answer["choices"][0]["message"]["content"].strip() == words.strip(), scale
        mrpack("configure", "plain", "llamacpp.lora_scale=0.5")
        status, answer = served.post(CHAT, {"model": "plain", **HELLO})
        assert status == 400, answer
        assert "lora_scale" in answer["error"]["message"]

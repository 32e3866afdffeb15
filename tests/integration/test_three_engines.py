"""One gateway with llama.cpp, vLLM and Diffusers at the same time, asked by the official clients and by curl.

Starting vLLM takes longest, so one gateway serves all tests of this module.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest
from PIL import Image

from mrpack_runtime.wire.endpoint import TcpEndpoint
from tests.demands import demand
from tests.fakes.gateway import CHAT, Answer, Client
from tests.fakes.made_by_engines import models_made_by
from tests.fakes.odd_requests import ODD
from tests.fakes.odd_requests.asking import ask, faults
from tests.fakes.odd_requests.row import PICTURE, raw
from tests.fakes.public_models import SMOLLM2, public_model
from tests.fakes.tiny_safetensors import ANSWER
from tests.integration.engines import link_engines, made_engines
from tests.integration.processes import resident
from tests.program import Mrpack, empty_environment

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900), pytest.mark.xdist_group("torch")]

READY_S = 500
LIMIT_S = 240.0
QUESTION: list[Any] = [{"role": "user", "content": "Who are you?"}]
COLD = {"temperature": 0}
TEXT = {"smollm2": "llama.cpp", "llama": "vllm"}
ENGINES = {**TEXT, "sd": "diffusers"}
# Of the artifacts.
ANSWER_TOKENS, CONTEXT, SIZE = 7, 96, (48, 32)
texts = pytest.mark.parametrize("model", TEXT)
prefixes = pytest.mark.parametrize("form", ["/engines/{engine}/v1", "/engines/v1", "/v1"])


@dataclass(frozen=True)
class Town:
    """A running `mrpack serve` with models `smollm2`, `llama` and `sd`; `smollm2` is `team/other` as well."""

    url: str
    program: Mrpack

    def openai(self, prefix: str = "/v1") -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url + prefix, api_key="none", max_retries=0, timeout=LIMIT_S)

    def anthropic(self) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=self.url, api_key="none", max_retries=0, timeout=LIMIT_S)

    def ask(self, *contents: bytes) -> list[Answer]:
        client = Client(TcpEndpoint(int(self.url.rpartition(":")[2])))

        async def main() -> list[Answer]:
            return [await ask(client, content) for content in contents]

        return asyncio.run(main())

    def post(self, path: str, body: Any) -> Answer:
        content = raw("POST", path, json.dumps(body).encode(), "Content-Type: application/json")
        return self.ask(content.replace(b"LENGTH", str(len(json.dumps(body))).encode()))[0]

    def curl(self, path: str, body: Any) -> str:
        demand("" if shutil.which("curl") else "curl is not installed")
        command = ["curl", "-sS", "-N", "--fail-with-body", "-H", "Content-Type: application/json"]
        done = subprocess.run(
            [*command, "--data-binary", "@-", self.url + path],
            input=json.dumps(body),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done
        return done.stdout

    def ps(self) -> dict[str, dict[str, Any]]:
        """By the model's last name."""
        (answer,) = self.ask(raw("GET", "/engines/ps"))
        return {entry["model_name"].rpartition("/")[2].partition(":")[0]: entry for entry in answer.json}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    shared = tmp_path_factory.getbasetemp().parent
    engines = made_engines()
    pipelines = models_made_by(engines / "diffusers" / "bin" / "python", "tiny_pipelines", shared)
    llamas = models_made_by(engines / "vllm" / "bin" / "python", "tiny_transformers", shared)
    folder = tmp_path_factory.mktemp("town")
    home = folder / "home"
    program = Mrpack({**empty_environment(folder), "MRPACK_HOME": str(home)}, folder)
    link_engines(home, *ENGINES.values())
    own = {
        "smollm2": ("--set", f"sampling.max_tokens={ANSWER_TOKENS}", "--set", "context_size=2048"),
        "llama": ("--set", f"vllm.max_model_len={CONTEXT}", "--set", "sampling.repeat_penalty=1.0"),
        "sd": ("--set", "diffusers.num_inference_steps=2", "--set", f"diffusers.size={SIZE[0]}x{SIZE[1]}"),
    }
    sources: dict[str, tuple[str, Path]] = {
        "smollm2": ("--gguf", public_model(SMOLLM2)),
        "llama": ("--safetensors", llamas / "llama"),
        "sd": ("--diffusers", pipelines / "stable-diffusion"),
    }
    for name, source in sources.items():
        program("package", *source, f"team/{name}:v1", *own[name])
    program("tag", "smollm2", "team/other:v2")
    process = program.start(
        *("serve", *ENGINES, "--port", "0", "--threads", "1"), *("--ready-timeout", str(READY_S))
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line, process.communicate()
        loaded = 0
        while loaded < len(ENGINES):
            told = process.stderr.readline()
            assert told, process.wait()
            loaded += told.startswith("loaded ")
        yield Town(line.strip(), program)
    finally:
        process.terminate()
        _, errors = process.communicate()
        assert "Traceback" not in errors, errors
    assert process.returncode == 0


def prefix_of(form: str, model: str) -> str:
    return form.replace("{engine}", ENGINES[model])


def open_image(text: str | None) -> Image.Image:
    assert text is not None
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


def said(model: str, text: str | None) -> str:
    """Tiny llama has one answer."""
    assert text
    assert model != "llama" or text == ANSWER
    return text


@texts
@prefixes
def test_openai_client_chats_on_every_path(town: Town, model: str, form: str) -> None:
    with town.openai(prefix_of(form, model)) as client:
        whole = client.chat.completions.create(model=model, messages=QUESTION, temperature=0)
        text = said(model, whole.choices[0].message.content)
        stream = client.chat.completions.create(
            model=model, messages=QUESTION, temperature=0, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
        assert chunks[-1].usage is not None
        assert whole.usage is not None
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
        completed = client.completions.create(model=model, prompt="Once", temperature=0, max_tokens=3)
        parts = client.completions.create(
            model=model, prompt="Once", temperature=0, max_tokens=3, stream=True
        )
        assert "".join(part.choices[0].text for part in parts if part.choices) == completed.choices[0].text
        assert whole.model == chunks[0].model == completed.model == f"team/{model}:v1"
        assert client.models.retrieve(f"team/{model}:v1").id == f"team/{model}:v1"
        assert {entry.id for entry in client.models.list()} == {
            "team/other:v2",
            "team/llama:v1",
            "team/sd:v1",
        }


@prefixes
def test_openai_client_paints_on_every_path(town: Town, form: str) -> None:
    with town.openai(prefix_of(form, "sd")) as client:
        image = client.images.generate(model="sd", prompt="a fox", extra_body={"seed": 7})
        assert image.data is not None
        assert open_image(image.data[0].b64_json).size == SIZE
        events = list(
            client.images.generate(
                model="sd", prompt="a fox", stream=True, partial_images=1, extra_body={"seed": 7}
            )
        )
        assert events[-1].type == "image_generation.completed"
        assert events[-1].b64_json == image.data[0].b64_json


@texts
@prefixes
def test_openai_client_gets_responses(town: Town, model: str, form: str) -> None:
    with town.openai(prefix_of(form, model)) as client:
        first = client.responses.create(model=model, input="Who are you?", temperature=0)
        said(model, first.output_text)
        with client.responses.stream(
            model=model, input="And you?", previous_response_id=first.id, temperature=0
        ) as stream:
            *_, last = stream
        # What the artifact says may end the answer early.
        assert last.type in {"response.completed", "response.incomplete"}
        second = last.response
        said(model, second.output_text)
        assert first.usage is not None
        assert second.usage is not None
        assert second.usage.input_tokens > first.usage.input_tokens


@texts
def test_anthropic_client_gets_messages(town: Town, model: str) -> None:
    with town.anthropic() as client:
        asked: dict[str, Any] = {"model": model, "max_tokens": 20, "messages": QUESTION, "extra_body": COLD}
        whole = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert whole.content[0].type == "text"
        assert said(model, whole.content[0].text) == text
        assert final.usage.output_tokens == whole.usage.output_tokens > 0
        assert client.messages.count_tokens(model=model, messages=QUESTION).input_tokens > 0
        with pytest.raises(anthropic.NotFoundError):
            client.messages.create(**{**asked, "model": "nope"})
        with pytest.raises(anthropic.BadRequestError):
            client.messages.create(**{**asked, "extra_body": {"temperature": 99}})


@texts
def test_ollama_client_chats(town: Town, model: str) -> None:
    client = ollama.Client(host=town.url, timeout=LIMIT_S)
    options = {"temperature": 0, "num_predict": 20}
    whole = client.chat(model, QUESTION, options=options)
    text = said(model, whole.message.content)
    lines = list(client.chat(model, QUESTION, options=options, stream=True))
    assert "".join(line.message.content or "" for line in lines) == text
    assert lines[-1].eval_count == whole.eval_count
    assert said(model, client.generate(model, "Who are you?", options=options).response) == text
    assert {f"team/{name}:v1" for name in ENGINES} <= {entry.model for entry in client.list().models}
    assert {f"team/{name}:v1" for name in ENGINES} == {entry.name for entry in client.ps().models}
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat("sd", QUESTION)
    assert caught.value.status_code == 501
    client._client.close()


@texts
@prefixes
def test_curl_chats_and_streams(town: Town, model: str, form: str) -> None:
    path = f"{prefix_of(form, model)}/chat/completions"
    body = {"model": model, "messages": QUESTION, "temperature": 0}
    text = said(model, json.loads(town.curl(path, body))["choices"][0]["message"]["content"])
    lines = [line for line in town.curl(path, {**body, "stream": True}).splitlines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    choices = [json.loads(line[6:])["choices"] for line in lines[:-1]]
    assert "".join(choice[0]["delta"].get("content") or "" for choice in choices if choice) == text


def test_curl_paints(town: Town) -> None:
    found = json.loads(
        town.curl("/engines/diffusers/v1/images/generations", {"model": "sd", "prompt": "a fox"})
    )
    assert open_image(found["data"][0]["b64_json"]).size == SIZE


@pytest.mark.parametrize("model", ENGINES)
@pytest.mark.parametrize("engine", ENGINES.values())
def test_an_engine_in_the_path_that_does_not_fit_is_a_conflict(town: Town, model: str, engine: str) -> None:
    if ENGINES[model] == engine:
        return
    for path in ("chat/completions", "images/generations", "responses"):
        body = {"model": model, "messages": QUESTION, "input": "x"}
        answer = town.post(f"/engines/{engine}/v1/{path}", body)
        error = answer.json["error"]
        assert (answer.status, error["code"]) == (409, "engine_mismatch")
        assert "leave out the engine" in error["message"]


def test_aliases_of_a_digest_share_an_engine(town: Town) -> None:
    before = town.ps()
    answer = town.post(CHAT, {"model": "other", "messages": QUESTION, "max_tokens": 2})
    assert (answer.status, answer.json["model"]) == (200, "team/other:v2")
    after = town.ps()
    assert {entry["pid"] for entry in after.values()} == {entry["pid"] for entry in before.values()}
    assert {name: entry["backend_name"] for name, entry in after.items()} == ENGINES


def test_settings_of_the_artifacts_are_seen(town: Town) -> None:
    with town.openai() as client:
        short = client.chat.completions.create(model="smollm2", messages=QUESTION, temperature=0)
        assert short.usage is not None
        assert short.usage.completion_tokens <= ANSWER_TOKENS
        asked = client.chat.completions.create(
            model="smollm2", messages=[{"role": "user", "content": "Count to 20."}], max_tokens=12, seed=1
        )
        assert asked.usage is not None
        assert asked.usage.completion_tokens > ANSWER_TOKENS
    tokens = town.post("/v1/tokenize", {"model": "llama", "prompt": "Who"}).json
    assert tokens["max_model_len"] == CONTEXT


def test_no_engine_takes_more_memory_than_expected(town: Town) -> None:
    for model in TEXT:
        town.post("/v1/chat/completions", {"model": model, "messages": QUESTION, "max_tokens": 1})
    town.post("/v1/images/generations", {"model": "sd", "prompt": "a fox"})
    engines = town.ps()
    assert set(engines) == set(ENGINES)
    for engine in engines.values():
        assert resident(engine["pid"]) < engine["memory"]["host"]


def test_all_engines_answer_at_the_same_time(town: Town) -> None:
    chat = {"messages": QUESTION, "temperature": 0}
    asked = [
        *((CHAT, {"model": model, **chat}) for model in TEXT for _ in range(4)),
        *(("/v1/images/generations", {"model": "sd", "prompt": "a fox", "seed": 7}) for _ in range(2)),
    ]
    with ThreadPoolExecutor(len(asked)) as threads:
        answers = list(threads.map(lambda row: town.post(*row), asked))
    assert [answer.status for answer in answers] == [200] * len(asked)
    told = [answer.json for answer in answers]
    chats = [body["choices"][0]["message"]["content"] for body in told[:-2]]
    assert chats[4:] == [ANSWER] * 4
    assert told[-1]["data"] == told[-2]["data"]


@pytest.mark.parametrize("model", ENGINES)
def test_each_odd_request_is_answered_by_every_engine_alike(town: Town, model: str) -> None:
    found = []
    for odd, answer in zip(ODD, town.ask(*(odd.to(model) for odd in ODD)), strict=True):
        # What is wrong in any case may be told before what the model is for.
        other_kind = model not in TEXT and odd.needs_text and answer.status == 501
        found += faults(odd, answer, 501 if other_kind else None)
    assert not found, "\n".join(found)


OWN: list[tuple[str, str, dict[str, Any], int]] = [
    *((model, CHAT, {"messages": [{"role": "user", "content": "word " * 9000}]}, 400) for model in TEXT),
    *((model, CHAT, {"messages": [{"role": "user", "content": [PICTURE]}]}, 400) for model in TEXT),
    *((model, "/v1/messages", {"messages": QUESTION, "max_tokens": 4, "top_k": "x"}, 400) for model in TEXT),
    *((model, "/v1/images/generations", {"prompt": "x"}, 501) for model in TEXT),
    *((model, "/v1/completions", {"prompt": [-1]}, 400) for model in TEXT),
    *((model, "/v1/completions", {"prompt": [99_999_999]}, 400) for model in TEXT),
    ("sd", CHAT, {"messages": QUESTION}, 501),
    ("sd", "/v1/messages", {"messages": QUESTION, "max_tokens": 4}, 501),
    ("sd", "/api/chat", {"messages": QUESTION}, 501),
    ("sd", "/v1/embeddings", {"input": "x"}, 501),
    ("sd", "/v1/rerank", {"query": "x", "documents": ["y"]}, 501),
    ("sd", "/v1/tokenize", {"prompt": "x"}, 501),
    *(
        ("sd", "/v1/images/generations", {"prompt": "x", **fields}, 400)
        for fields in (
            {"prompt": None},
            {"prompt": 7},
            {"prompt": " "},
            {"n": 0},
            {"n": 100},
            {"n": "2"},
            {"size": "7x9"},
            {"size": "huge"},
            {"size": "100000x100000"},
            {"seed": 2**70},
            {"seed": -1},
            {"response_format": "url"},
            {"output_format": "gif"},
            {"num_inference_steps": 0},
            {"guidance_scale": "much"},
            {"stream": "yes"},
            {"nonsense": 1},
        )
    ),
]


@pytest.mark.parametrize(("model", "path", "body", "status"), OWN)
def test_what_a_model_cannot_do_is_told(
    town: Town, model: str, path: str, body: dict[str, Any], status: int
) -> None:
    answer = town.post(path, {"model": model, **body})
    assert answer.status == status, answer.body
    error = answer.json["error"]
    assert error if isinstance(error, str) else error["message"]
    assert town.ps().keys() == ENGINES.keys()

"""Real llama.cpp, through every launcher: the same requests get the same answers."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import re
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mrpack.errors import EngineFailed, UsageError
from mrpack.model.overrides.document import parse_setting
from mrpack.model.overrides.table import BY_KEY
from mrpack_runtime.engine import EngineSettings, ModelBundle, Operation
from mrpack_runtime.engines.llamacpp.settings import BY_NAME, GROUP, OPTIONS
from mrpack_runtime.protocols.dmr import parse_settings
from mrpack_runtime.protocols.refusal import RequestRefused
from mrpack_runtime.settings.own import checked
from tests.fakes.tiny_gguf import (
    ADAPTED_ANSWER,
    ANSWER,
    write_lora,
    write_markov,
    write_mmproj,
    write_sharded,
)
from tests.integration.launchers import CHAT, HELLO, LAUNCHERS, Setup, bundle, make_setup

pytestmark = pytest.mark.engine
# Flags that Docker Model Runner's clients send for what every engine has.
SHARED = {
    *("--ctx-size", "--max-model-len", "--temp", "--temperature", "--top-k", "--top-p", "--min-p"),
    *("--repeat-penalty", "--seed"),
}


@pytest.fixture(params=LAUNCHERS)
def setup(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return make_setup(request.param, tmp_path_factory.mktemp("r") / "e")


@pytest.fixture(scope="module")
def markov(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return bundle(write_markov(tmp_path_factory.mktemp("markov")))


def test_chat_streams_and_counts_the_same_words_as_a_single_answer(setup, markov):
    async def scenario():
        async with setup.client(markov) as client:
            whole = await client.post(CHAT, HELLO)
            assert (whole.status, whole.content) == (200, ANSWER)
            assert whole.body["choices"][0]["finish_reason"] == "stop"
            plain = await client.post(CHAT, {**HELLO, "stream": True})
            assert plain.streamed == ANSWER
            assert plain.events[-1] == "[DONE]"
            assert not any(event.get("usage") for event in plain.events[:-1])
            counted = await client.post(
                CHAT, {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
            )
            *_, last, done = counted.events
            assert (counted.streamed, done, last["choices"]) == (ANSWER, "[DONE]", [])
            assert counts(last) == counts(whole.body)

    asyncio.run(scenario())


def counts(body: dict[str, Any]) -> list[int]:
    """The end-of-text token is counted by llama-server and not by llama_cpp.server."""
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    return [usage["prompt_tokens"], usage["completion_tokens"]]


def test_completions_stop_words_and_limits(setup, markov):
    async def scenario():
        async with setup.client(markov) as client:
            whole = (await client.post("/v1/completions", {"prompt": "Once"})).body["choices"][0]
            assert (whole["text"], whole["finish_reason"]) == (ANSWER, "stop")
            stopped = (await client.post("/v1/completions", {"prompt": "Once", "stop": ["tiny"]})).body[
                "choices"
            ][0]
            assert (stopped["text"], stopped["finish_reason"]) == (" Hello from a ", "stop")
            limited = (await client.post(CHAT, {**HELLO, "max_completion_tokens": 2})).body["choices"][0]
            assert (limited["message"]["content"], limited["finish_reason"]) == (" Hello from", "length")
            stopped_stream = await client.post(CHAT, {**HELLO, "stop": "tiny", "stream": True})
            assert stopped_stream.streamed == " Hello from a "

    asyncio.run(scenario())


def test_one_process_chats_and_embeds(setup, markov):
    async def scenario():
        async with setup.client(markov) as client:
            answer = await client.post("/v1/embeddings", {"input": ["hello world", "a tiny model"]})
            first, second = (row["embedding"] for row in answer.body["data"])
            assert len(first) == len(second) == 64
            assert first != second
            assert math.isclose(math.sqrt(sum(number**2 for number in first)), 1, rel_tol=1e-4)
            again = await client.post("/v1/embeddings", {"input": "hello world", "encoding_format": "base64"})
            packed = base64.b64decode(again.body["data"][0]["embedding"])
            assert struct.unpack("<64f", packed) == pytest.approx(first, abs=1e-3)
            too_long = await client.post("/v1/embeddings", {"input": "word " * 200})
            assert too_long.status == 400, "cut off without a word"
            assert (await client.post(CHAT, HELLO)).content == ANSWER

    asyncio.run(scenario())


def test_embedding_models_take_inputs_as_long_as_the_context(setup, markov):
    async def scenario():
        settings = EngineSettings(threads=1, operation=Operation.EMBEDDING)
        async with setup.client(markov, settings) as client:
            answer = await client.post("/v1/embeddings", {"input": "word " * 80})
            assert answer.status == 200, answer.body
            assert answer.body["usage"]["prompt_tokens"] > 400

    asyncio.run(scenario())


def test_an_adapter_changes_the_answer(setup, markov, tmp_path):
    async def scenario():
        async with setup.client(replace(markov, adapters=(write_lora(tmp_path),))) as client:
            assert (await client.post(CHAT, HELLO)).content == ADAPTED_ANSWER

    asyncio.run(scenario())


def test_a_sharded_model_is_one_model(setup, tmp_path):
    async def scenario():
        async with setup.client(bundle(*write_sharded(tmp_path))) as client:
            assert (await client.post(CHAT, HELLO)).content == ANSWER

    asyncio.run(scenario())


def test_a_projector_takes_images(setup, markov, tmp_path):
    image = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(image, "PNG")
    url = "data:image/png;base64," + base64.b64encode(image.getvalue()).decode()
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    # A template for messages in parts, as those of models with eyes are.
    template = tmp_path / "template.jinja"
    template.write_text(
        "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{% endfor %}assistant:"
    )

    async def scenario():
        seeing = replace(markov, mmproj=write_mmproj(tmp_path), chat_template=template)
        async with setup.client(seeing) as client:
            blind = await client.post(CHAT, HELLO)
            answer = await client.post(CHAT, {"messages": [{"role": "user", "content": parts}]})
            assert answer.status == 200, answer.body
            assert answer.content == blind.content == ANSWER
            assert answer.body["usage"]["prompt_tokens"] >= blind.body["usage"]["prompt_tokens"] + 16

    asyncio.run(scenario())


def test_the_artifacts_chat_template_wins_over_the_files_own(setup, markov, tmp_path):
    template = tmp_path / "template.jinja"
    template.write_text("{{ 'x' * 100 }}{% for m in messages %}{{ m.content }}{% endfor %}")

    async def scenario():
        async with setup.client(replace(markov, chat_template=template)) as client:
            answer = await client.post(CHAT, HELLO)
            assert answer.content == ANSWER
            assert answer.body["usage"]["prompt_tokens"] > 100

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "payload",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}",
        "{% for c in ''.__class__.__mro__ %}{{ c.__init__.__globals__.system('touch CANARY') }}{% endfor %}",
        "{{ self._TemplateReference__context.namespace.__init__.__globals__.os.popen('touch CANARY') }}",
    ],
)
def test_a_chat_template_runs_no_code(setup, markov, tmp_path, payload):
    canary = tmp_path / "canary"
    template = tmp_path / "template.jinja"
    template.write_text(payload.replace("CANARY", str(canary)))

    async def scenario():
        try:
            async with setup.client(replace(markov, chat_template=template)) as client:
                await client.post(CHAT, HELLO)
        except EngineFailed:
            pass  # refusing it at the start is as good

    asyncio.run(scenario())
    assert not canary.exists()


def test_a_model_without_template_is_asked_in_chatml(setup, tmp_path):
    async def scenario():
        async with setup.client(bundle(write_markov(tmp_path, chat_template=False))) as client:
            answer = await client.post(CHAT, HELLO)
            # <|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n, a token a character, and BOS
            assert answer.body["usage"]["prompt_tokens"] == pytest.approx(64, abs=4)

    asyncio.run(scenario())


def test_wrong_requests_are_the_clients_fault(setup, markov):
    async def scenario():
        async with setup.client(markov) as client:
            assert (await client.post(CHAT, {"messages": "text"})).status == 400
            long = {"messages": [{"role": "user", "content": "word " * 500}]}
            overflow = await client.post(CHAT, long)
            assert overflow.status == 400
            assert "error" in overflow.body
            assert (await client.post("/v1/rerank", {"query": "a", "documents": ["b"]})).status == 501
            assert (await client.post(CHAT, HELLO)).content == ANSWER

    asyncio.run(scenario())


def test_requests_at_the_same_time_are_all_answered(setup, markov):
    async def scenario():
        async with setup.client(markov) as client:
            turn = asyncio.Lock() if client.process.launch.quirks else None

            async def ask() -> str:
                if turn is None:
                    return (await client.post(CHAT, {**HELLO, "stream": True})).streamed
                async with turn:
                    return (await client.post(CHAT, {**HELLO, "stream": True})).streamed

            assert await asyncio.gather(*(ask() for _ in range(8))) == [ANSWER] * 8

    asyncio.run(scenario())


def test_a_broken_model_is_an_engine_that_failed_with_its_own_words(setup, markov, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(markov.weights[0].read_bytes()[:60_000])

    async def scenario():
        process = setup.process(replace(markov, weights=(broken,)))
        with pytest.raises(EngineFailed, match=r"llama\.cpp did not start: exit status 1: ") as caught:
            await process.ensure_ready()
        assert "broken.gguf" in caught.value.log_tail or "tensor" in caught.value.log_tail
        assert caught.value.exit_status == 1

    asyncio.run(scenario())


def test_a_setting_reaches_the_engine(setup, markov):
    async def scenario():
        settings = EngineSettings(threads=1, context_size=256, parallel=2, own={"flash_attn": "off"})
        async with setup.client(markov, settings) as client:
            body = {"messages": [{"role": "user", "content": "x" * 300}]}
            assert (await client.post(CHAT, body)).status == 400
            fitting = {"messages": [{"role": "user", "content": "x" * 200}]}
            assert (await client.post(CHAT, fitting)).content == ANSWER

    asyncio.run(scenario())


def samples(schema: dict[str, Any]) -> list[Any]:
    match schema:
        case {"enum": names}:
            return list(names)
        case {"type": "boolean"}:
            return [True, False]
        case {"type": "integer", "minimum": minimum}:
            return [max(minimum, 1)]
        case {"type": "number", "minimum": minimum}:
            return [max(minimum, 0.5)]
        case {"type": "object"}:
            return [{"enable_thinking": False, "name": "text"}]
    raise AssertionError(schema)


KNOWS = {
    "xllamacpp": """
import json, sys
sys.path.append(sys.argv[1])
import run_xllamacpp
for wanted in json.load(sys.stdin):
    run_xllamacpp.parameters(wanted)
""",
    "llama-cpp-python": """
import json, sys
from llama_cpp.server.settings import ModelSettings
for wanted in json.load(sys.stdin):
    assert set(wanted["model"]) <= set(ModelSettings.model_fields), wanted
    ModelSettings(**wanted["model"])
""",
}


def test_every_setting_is_spelled_as_the_engine_knows_it(setup, markov, tmp_path):
    """Against what the engine says of itself, not against our memory of it."""
    spelling = {"xllamacpp": "attribute", "llama-cpp-python": "setting"}.get(setup.launcher, "flag")
    rows = [
        {option.name: sample}
        for option in OPTIONS
        if getattr(option, spelling)
        for sample in samples(BY_KEY[f"llamacpp.{option.name}"].kind.schema())
    ]
    assert len(rows) > 20
    adapted = replace(markov, adapters=(write_lora(tmp_path),))
    # llama-server: a flag that its --help does not have is refused here.
    launches = [setup.process(adapted, EngineSettings(threads=1, own=own)).launch for own in rows]
    if setup.launcher in KNOWS:
        program, isolated, child, _ = launches[0].argv
        subprocess.run(
            [program, isolated, "-c", KNOWS[setup.launcher], Path(child).parent],
            input=json.dumps([json.loads(launch.argv[-1]) for launch in launches]),
            text=True,
            check=True,
        )


FIELDS = {
    "xllamacpp": """
from enum import Enum
import xllamacpp
def walk(value, prefix=""):
    for name in dir(value):
        if not name.startswith("_"):
            print(prefix + name)
            inner = getattr(value, name)
            if type(inner).__module__.startswith("xllamacpp") and not isinstance(inner, Enum):
                walk(inner, prefix + name + ".")
walk(xllamacpp.CommonParams())
""",
    "llama-cpp-python": """
from llama_cpp.server.settings import ModelSettings, ServerSettings
print(*ModelSettings.model_fields, *ServerSettings.model_fields, sep="\\n")
""",
}


def words_of(setup: Setup, markov: ModelBundle) -> set[str]:
    """Every word that the engine takes, by its own account."""
    program, *_ = setup.process(markov).launch.argv
    if setup.launcher in FIELDS:
        command = [program, "-I", "-c", FIELDS[setup.launcher]]
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    return {flag.lstrip("-") for flag in re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", text)}


def test_no_word_of_the_engine_is_a_setting_unless_it_is_in_the_table(setup, markov):
    """Flags open files, URLs and ports, and load code: none may come with a model or a request."""
    words = words_of(setup, markov)
    assert len(words) > 50
    keys = {spelling for word in words for spelling in (word, word.replace("-", "_"), f"--{word}")}
    for key in keys - set(BY_NAME):
        with pytest.raises(UsageError, match="is not a setting"):
            checked(GROUP, {key: "1"})
        with pytest.raises(UsageError):
            parse_setting(f"llamacpp.{key}=1")
    for word in words:
        flag = f"--{word.replace('_', '-')}"
        is_setting = word.replace("-", "_") in BY_NAME or flag in SHARED
        for spelling in (f"-{word}", *(() if is_setting else (flag, f"{flag}=1"))):
            with pytest.raises(RequestRefused, match="is not a setting"):
                parse_settings({"model": "m", "runtime-flags": [spelling, "1"]}, "llamacpp")

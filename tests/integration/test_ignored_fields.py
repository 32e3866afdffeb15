"""The table of fields that engines overlook, held against the engines themselves."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import Any

import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params

from mrpack_runtime.engine import EngineSettings
from mrpack_runtime.protocols.ignored import find_ignored
from mrpack_runtime.protocols.openai import COMPLETION, EMBEDDING
from tests.demands import demand
from tests.fakes.gateway import CHAT
from tests.fakes.llama_cpp_python import ensure_environment
from tests.fakes.tiny_gguf import write_markov
from tests.integration.engines import made_engines
from tests.integration.launchers import LAUNCHERS, bundle, make_setup

pytestmark = pytest.mark.engine

KNOWN = {
    CHAT: chat_create_params.CompletionCreateParamsBase,
    COMPLETION: completion_create_params.CompletionCreateParamsBase,
    EMBEDDING: embedding_create_params.EmbeddingCreateParams,
}
# vLLM lists it and says that it is ignored; llama-cpp-python drops it before it asks the model.
LISTED = {"user"}
CLASSES = {
    CHAT: ("ChatCompletionRequest",),
    COMPLETION: ("CompletionRequest",),
    EMBEDDING: ("EmbeddingCompletionRequest", "EmbeddingChatRequest"),
}
# For each path what is asked, and each field with a value that would change the answer if it were read.
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "Who are you?"}]},
    COMPLETION: {"prompt": "Who are you?"},
    EMBEDDING: {"input": "Who are you?"},
}
# What else engines are known to take, and one that drops all it does not know overlooks.
OTHERS = {
    "chat_template_kwargs",
    "ignore_eos",
    "repeat_last_n",
    "thinking_budget_tokens",
    "typical_p",
}
LLAMA_CPP_CLASSES = {
    CHAT: ("CreateChatCompletionRequest",),
    COMPLETION: ("CreateCompletionRequest",),
    EMBEDDING: ("CreateEmbeddingRequest",),
}
# Its quirks do these for it, or the gateway.
OF_QUIRKS = {"dimensions", "encoding_format", "max_completion_tokens", "stream_options"}
VALUES: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "wav"},
    "best_of": 3,
    "chat_template_kwargs": {"enable_thinking": True},
    "echo": True,
    "function_call": {"name": "f"},
    "functions": [{"name": "f", "parameters": {"type": "object"}}],
    "ignore_eos": True,
    "metadata": {"a": "b"},
    "modalities": ["audio"],
    "prediction": {"type": "content", "content": "x"},
    "repeat_last_n": 1,
    "thinking_budget_tokens": 1,
    "typical_p": 0.1,
    "web_search_options": {},
}


def openai_fields(path: str) -> set[str]:
    return set(KNOWN[path].__annotations__)


def fields_of(sources: Path, *names: str) -> set[str]:
    """Of classes and all they inherit, read from the source: to import vLLM takes half a minute."""
    classes: dict[str, ast.ClassDef] = {}
    for file in sources.rglob("*.py"):
        nodes = ast.walk(ast.parse(file.read_text()))
        classes |= {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        if (node := classes.get(waiting.pop())) is not None:
            waiting += [base.id for base in node.bases if isinstance(base, ast.Name)]
            lines = [line.target for line in node.body if isinstance(line, ast.AnnAssign)]
            found |= {target.id for target in lines if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("path", list(KNOWN))
def test_vllm_knows_all_other_fields_of_openai(path: str) -> None:
    sources = next(made_engines().glob("vllm/lib/python3*/site-packages/vllm/entrypoints"), None)
    demand("" if sources else "vllm is not installed")
    assert sources is not None
    known = fields_of(sources, *CLASSES[path])
    assert known >= {"model"}
    ignored = set(find_ignored("vllm", path, dict.fromkeys(openai_fields(path), "x")))
    assert ignored == openai_fields(path) - known | LISTED


@pytest.mark.slow
@pytest.mark.parametrize("path", list(KNOWN))
def test_llama_cpp_python_reads_all_that_is_not_named(path: str) -> None:
    sources = next(ensure_environment().glob("lib/python3*/site-packages/llama_cpp/server"))
    read = fields_of(sources, *LLAMA_CPP_CLASSES[path])
    assert read >= {"model"}
    fields = read | openai_fields(path)
    ignored = set(find_ignored("llama_cpp_server", path, dict.fromkeys(fields, "x")))
    assert ignored == (openai_fields(path) - read - OF_QUIRKS) | LISTED


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_llama_cpp_answers_the_same_with_and_without_them(short_folder: Path, launcher: str) -> None:
    setup = make_setup(launcher, short_folder)

    async def main() -> None:
        settings = EngineSettings(threads=1, context_size=512)
        async with setup.client(bundle(write_markov(short_folder)), settings) as client:
            server = client.process.launch.quirks or "llama.cpp"
            for path, asked in ASKED.items():
                body = {"max_tokens": 8, "temperature": 0, **asked}
                without = said((await client.post(path, body)).body)
                fields = openai_fields(path) | OTHERS
                for name in find_ignored(server, path, dict.fromkeys(fields, "x")):
                    answer = await client.post(path, {**body, name: VALUES.get(name, "x")})
                    assert answer.status == 200, (path, name, answer.body)
                    assert said(answer.body) == without, (path, name)

    asyncio.run(main())


def said(answer: Any) -> Any:
    """What was answered, without its times."""
    return answer.get("choices") or [len(row["embedding"]) for row in answer["data"]]

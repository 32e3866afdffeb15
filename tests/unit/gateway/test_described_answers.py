"""Answers and streams are what /openapi.json says of them, and of every route it says something."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mrpack_runtime.engine import Operation
from mrpack_runtime.gateway.openapi import describe
from mrpack_runtime.gateway.routes import mounted
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import CHAT, gateway

DOCUMENT = describe("0", mounted())
# What has no shape: text, archives, and the metrics of Prometheus.
PLAIN = {"text/plain", "application/x-tar"}
HI = [{"role": "user", "content": "hi"}]
FAKE = {"fake": {"thoughts": "hm", "tools": [{"name": "f", "arguments": "{}"}]}}
NAME = "localhost/fake:latest"
ASKED: list[tuple[str, str, Any]] = [
    ("POST", CHAT, {"messages": HI, **FAKE}),
    ("POST", "/v1/completions", {"prompt": "hi"}),
    ("POST", "/v1/embeddings", {"input": ["one", "two"]}),
    ("POST", "/v1/images/generations", {"prompt": "a tree"}),
    ("POST", "/v1/messages", {"messages": HI, "max_tokens": 9, **FAKE}),
    ("POST", "/v1/messages/count_tokens", {"messages": HI}),
    ("POST", "/v1/responses", {"input": "hi", **FAKE}),
    ("POST", "/v1/rerank", {"query": "one", "documents": ["two", "three"]}),
    ("POST", "/v1/score", {"text_1": "one", "text_2": "two"}),
    ("POST", "/v1/tokenize", {"prompt": "one"}),
    ("POST", "/v1/detokenize", {"tokens": [65]}),
    ("POST", "/v1/apply-template", {"messages": HI}),
    ("POST", "/api/chat", {"messages": HI, "stream": False, **FAKE}),
    ("POST", "/api/generate", {"prompt": "hi", "stream": False, **FAKE}),
    ("POST", "/api/embed", {"input": "one"}),
    ("POST", "/api/embeddings", {"prompt": "one"}),
    ("POST", "/api/show", {}),
    ("POST", "/engines/unload", {"models": ["fake"]}),
    *(
        ("GET", path, None)
        for path in (
            *("/v1/models", f"/v1/models/{NAME}", "/models", f"/models/{NAME}", "/api/tags", "/api/ps"),
            *("/api/version", "/version", "/health", "/ready", "/openapi.json", "/engines/status"),
            *("/engines/ps", "/engines/df", "/engines/_configure"),
        )
    ),
    ("POST", f"/models/{NAME}/tag?repo=localhost/other&tag=v1", None),
    ("POST", "/models/prune", None),
    ("POST", "/api/copy", {"source": "fake", "destination": "localhost/third:latest"}),
    ("DELETE", "/models/localhost/other:v1", None),
]
STREAMED: list[tuple[str, Any]] = [
    (path, body) for method, path, body in ASKED if method == "POST" and body is not None and "fake" in body
]


def described(method: str, path: str) -> dict[str, Any]:
    template = path.partition("?")[0].replace(NAME, "{model}").replace("localhost/other:v1", "{model}")
    return DOCUMENT["paths"][template][method.lower()]


def check(schema: dict[str, Any], found: Any) -> None:
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(found)


def test_of_every_answer_there_is_a_shape():
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    if status.startswith("2") and kind not in PLAIN:
                        assert content, (path, kind)


def test_every_shape_is_a_schema_and_is_used():
    text = json.dumps(DOCUMENT["paths"])
    for name, schema in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert f'"#/components/schemas/{name}"' in text, name


def test_every_route_says_what_can_go_wrong():
    for path, route in mounted():
        answers = set(DOCUMENT["paths"][path][route.method.lower()]["responses"])
        assert {"400", "403", "default"} <= answers
        if route.operation is not None:
            assert {"401", "404", "409", "413", "501", "502", "503", "507"} <= answers, path


@pytest.mark.parametrize("stream", [False, True])
def test_the_answers_are_as_described(short_folder, stream):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(name="llama.cpp", operations=frozenset(Operation))) as g:
            if stream:
                for path, body in STREAMED:
                    answer = await g.client.post(path, {"model": "fake", **body, "stream": True})
                    (content,) = [
                        content
                        for kind, content in described("POST", path)["responses"]["200"]["content"].items()
                        if answer.headers["content-type"].startswith(kind)
                    ]
                    lines = [json.loads(line) for line in answer.body.splitlines() if line.startswith(b"{")]
                    events = [event for event in answer.events if event != "[DONE]"] or lines
                    assert len(events) > 5, path
                    for event in events:
                        check(content["x-item-schema"], event)
                return
            for method, path, body in ASKED:
                content = None if body is None else json.dumps({"model": "fake", **body}).encode()
                headers = {} if body is None else {"Content-Type": "application/json"}
                answer = await g.client.request(method, path, content, headers)
                assert answer.status in {200, 201}, (path, answer.body)
                shape = described(method, path)["responses"][str(answer.status)]["content"]
                check(shape["application/json"]["schema"], answer.json)

    asyncio.run(main())

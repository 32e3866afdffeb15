"""Every route that clients of Docker Model Runner know has a row here; what it does not serve is marked."""

from __future__ import annotations

import pytest

from mrpack_runtime.gateway.routes import RouteTable

TABLE = RouteTable.build()
PREFIXES = ("/engines/llama.cpp/v1", "/engines/v1", "/v1")
UNVERSIONED = ("/engines/llama.cpp", "/engines", "")
ROUTES = [
    *(("GET", path) for path in ("/", "/version", "/logs", "/metrics")),
    *(("POST", path) for path in ("/models/create", "/models/load")),
    *(("GET", path) for path in ("/models", "/models/ai/smollm2:latest", "/models/ai/smollm2/export")),
    *(("DELETE", path) for path in ("/models/ai/smollm2", "/models/purge")),
    *(("POST", f"/models/ai/smollm2/{action}") for action in ("tag", "push", "repackage")),
    *(
        ("POST", prefix + path)
        for prefix in PREFIXES
        for path in (
            *("/chat/completions", "/completions", "/embeddings", "/images/generations"),
            *("/messages", "/messages/count_tokens", "/responses"),
        )
    ),
    *(("POST", prefix + path) for prefix in UNVERSIONED for path in ("/rerank", "/score")),
    *(("GET", prefix + path) for prefix in PREFIXES for path in ("/models", "/models/ai/smollm2")),
    *(("POST", f"/anthropic/v1/{path}") for path in ("messages", "messages/count_tokens")),
    *(
        (method, prefix + path)
        for prefix in ("/responses", "/v1/responses", "/engines/responses", "/engines/vllm/v1/responses")
        for method, path in (("POST", ""), ("GET", "/r1"), ("GET", "/r1/input_items"), ("DELETE", "/r1"))
    ),
    *(("GET", f"/engines/{word}") for word in ("status", "ps", "df", "_configure", "requests")),
    *(("POST", f"/engines/{word}") for word in ("unload", "_configure", "vllm/_configure")),
    *(("POST", f"/engines/{word}") for word in ("install-backend", "uninstall-backend")),
    *(("GET", f"/api/{word}") for word in ("version", "tags", "ps")),
    *(("POST", f"/api/{word}") for word in ("show", "chat", "generate", "pull")),
    ("DELETE", "/api/delete"),
]
# Those it lacks, or has in one place only: embeddings of Ollama, rerank below /v1, tokens, health.
MORE = [
    *(
        ("POST", f"/api/{word}")
        for word in ("embed", "embeddings", "copy", "push", "create", "blobs/sha256:ab")
    ),
    *(("POST", prefix + path) for prefix in PREFIXES for path in ("/rerank", "/score", "/images/edits")),
    *(
        ("POST", prefix + path)
        for prefix in PREFIXES
        for path in ("/tokenize", "/detokenize", "/apply-template")
    ),
    ("POST", "/v1/responses/r1/cancel"),
    *(("GET", path) for path in ("/health", "/ready", "/openapi.json")),
]


@pytest.mark.parametrize(("method", "path"), [*ROUTES, *MORE], ids=lambda value: value)
def test_the_route_is_there(method, path):
    assert TABLE.match(method, path).route.method == method

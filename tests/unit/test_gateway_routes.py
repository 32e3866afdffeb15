"""The route table."""

from __future__ import annotations

import pytest

from mrpack.errors import NotFound
from mrpack_runtime.engine import Operation
from mrpack_runtime.gateway.errors import MethodNotAllowed
from mrpack_runtime.gateway.guard import Scope
from mrpack_runtime.gateway.routes import OPENAI_ROUTES, RESERVED, ROUTES, RouteTable

TABLE = RouteTable.build()


@pytest.mark.parametrize("prefix", ["/engines/llama.cpp/v1", "/engines/v1", "/v1"])
@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/chat/completions", Operation.COMPLETION),
        ("/completions", Operation.COMPLETION),
        ("/embeddings", Operation.EMBEDDING),
    ],
)
def test_inference_has_three_prefixes(prefix, path, operation):
    match = TABLE.match("POST", prefix + path)
    assert match.route.operation is operation
    assert match.route.upstream == f"/v1{path}"
    assert match.engine == ("llama.cpp" if "llama.cpp" in prefix else None)


@pytest.mark.parametrize("prefix", ["/engines/llama.cpp/v1", "/engines/v1", "/v1"])
@pytest.mark.parametrize(
    "name", ["smollm2", "ai/smollm2:135M", "registry.example.com:5000/a/b:c", "sha256:ab"]
)
def test_a_models_name_may_hold_slashes_and_colons(prefix, name):
    assert TABLE.match("GET", f"{prefix}/models/{name}").model == name


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/chat/completions/",
        "//v1/models",
        "/v1/models/",
        "/engines",
        "/engines/",
        "/nope",
        "/engines/v1/v1/models",
        "/engines/status/v1/models",
        "/engines/a/b/v1/models",
        "/v2/models",
        "",
    ],
)
def test_other_paths_are_not_found(path):
    with pytest.raises(NotFound):
        TABLE.match("GET", path)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", ("POST", "OPTIONS")),
        ("DELETE", "/engines/llama.cpp/v1/embeddings", ("POST", "OPTIONS")),
        ("POST", "/v1/models", ("GET", "HEAD", "OPTIONS")),
        ("PUT", "/v1/models/x", ("GET", "HEAD", "OPTIONS")),
        ("GET", "/engines/unload", ("POST", "OPTIONS")),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(method, path, allowed):
    with pytest.raises(MethodNotAllowed) as caught:
        TABLE.match(method, path)
    assert caught.value.allowed == allowed
    assert TABLE.allowed_methods(path) == allowed


def test_head_is_answered_as_get():
    assert TABLE.match("HEAD", "/v1/models").route.method == "GET"


def test_every_row_is_reachable_and_no_engine_can_hide_one():
    for route in ROUTES:
        match = TABLE.match(route.method, route.path)
        assert match.route is route
        if route.path.startswith("/engines/"):
            assert route.path.split("/")[2] in RESERVED
    for route in OPENAI_ROUTES:
        path = route.path.replace("{model}", "a/b:c")
        assert TABLE.match(route.method, f"/engines/any/v1{path}").route is route


def test_what_changes_things_is_management():
    assert {route.path for route in ROUTES if route.scope is Scope.MANAGEMENT} == {"/engines/unload", "/logs"}
    assert all(route.scope is Scope.INFERENCE for route in OPENAI_ROUTES)

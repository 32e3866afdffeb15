"""The route table."""

from __future__ import annotations

import pytest

from mrpack.errors import NotFound
from mrpack_runtime.engine import Operation
from mrpack_runtime.gateway.errors import MethodNotAllowed
from mrpack_runtime.gateway.guard import Scope
from mrpack_runtime.gateway.routes import RESERVED, RouteTable, mounted

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
    assert TABLE.match("GET", f"{prefix}/models/{name}").name == name


@pytest.mark.parametrize("prefix", ["/v1", "/engines/v1", "/engines/llama.cpp/v1", "/anthropic/v1"])
@pytest.mark.parametrize(
    "path",
    [
        *("files", "files/f1/content", "batches", "audio/speech", "threads/t/runs", "messages/batches/b1"),
        *("chat/completions/c1", "images/variations", "realtime/sessions", "fine_tuning/jobs"),
    ],
)
def test_who_looks_for_what_others_have_is_told_what_there_is(prefix, path):
    with pytest.raises(NotFound) as caught:
        TABLE.match("POST", f"{prefix}/{path}")
    assert caught.value.hint
    assert "openapi" not in caught.value.hint


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
    assert allowed[0] in str(caught.value)
    assert TABLE.allowed_methods(path) == allowed


def test_head_is_answered_as_get():
    assert TABLE.match("HEAD", "/v1/models").route.method == "GET"


def test_every_row_is_reachable_and_no_engine_can_hide_one():
    for path, route in mounted():
        asked = path.replace("{engine}", "any").replace("{model}", "a/b:c").replace("{id}", "resp_1")
        match = TABLE.match(route.method, asked)
        assert match.route is route
        assert match.name == ("a/b:c" if "{model}" in path else "resp_1" if "{id}" in path else "")
        assert match.engine == ("any" if "{engine}" in path else None)
        if path.startswith("/engines/") and "{engine}" not in path:
            assert path.split("/")[2] in RESERVED


def test_what_changes_things_is_management():
    changing = {"DELETE", "PUT", "PATCH"}
    for path, route in mounted():
        reads = route.method == "GET" or route.operation is not None or route.path == "/api/show"
        tells = {"/logs", "/models/{model}/export", "/engines/_configure", "/engines/requests"}
        counts = path.endswith(("tokenize", "apply-template"))
        expected = (
            route.method in changing or path in tells or not (reads or counts)
        ) and "responses" not in path
        assert (route.scope is Scope.MANAGEMENT) == expected, path


@pytest.mark.parametrize(
    ("method", "path", "template", "name"),
    [
        ("GET", "/models/ai/smollm2:latest", "/models/{model}", "ai/smollm2:latest"),
        ("GET", "/models/ai/smollm2/json", "/models/{model}/json", "ai/smollm2"),
        ("GET", "/models/ai/smollm2/export", "/models/{model}/export", "ai/smollm2"),
        ("POST", "/models/ai/smollm2/tag", "/models/{model}/tag", "ai/smollm2"),
        ("DELETE", "/models/ai/tag", "/models/{model}", "ai/tag"),
        ("DELETE", "/models/purge", "/models/purge", ""),
        ("GET", "/engines/responses/r1/input_items", "/engines/responses/{id}/input_items", "r1"),
    ],
)
def test_an_action_is_the_last_word_of_a_path(method, path, template, name):
    match = TABLE.match(method, path)
    assert (match.route.path, match.name) == (template, name)

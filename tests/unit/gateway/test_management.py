"""Docker Model Runner's management routes, tokens, ranking, numbers and the description of it all."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mrpack_runtime.gateway.guard import Policy, hash_key
from mrpack_runtime.gateway.routes import mounted
from mrpack_runtime.scheduling import Phase
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import (
    CHAT,
    Running,
    chat_body,
    gateway,
    metrics_with,
    read_answer,
    read_chunks,
    read_head,
    request_bytes,
    until,
)

NAME = "localhost/fake:latest"


@asynccontextmanager
async def serving(folder: Path, **options: Any) -> AsyncIterator[Running]:
    async with gateway(folder, FakeEngine(name="llama.cpp"), **options) as g:
        yield g


def lines(body: bytes) -> list[Any]:
    return [json.loads(line) for line in body.splitlines()]


def test_models_have_docker_model_runners_shape(short_folder):
    async def main() -> None:
        async with serving(short_folder) as g:
            (model,) = (await g.client.get("/models")).json
            assert set(model) == {"id", "tags", "created", "config"}
            assert model["id"].startswith("sha256:")
            assert (model["tags"], model["config"]["format"]) == ([NAME], "gguf")
            for path in (f"/models/{NAME}", "/models/fake", f"/models/{NAME}/json"):
                shown = (await g.client.get(path)).json
                assert shown["config"].pop("gguf") == {"general.name": "fake"}
                assert shown == model
            missing = await g.client.get("/models/nope")
            assert (missing.status, missing.json["error"]["code"]) == (404, "model_not_found")

    asyncio.run(main())


def test_create_tells_progress_line_by_line(short_folder):
    async def main() -> None:
        async with serving(short_folder) as g:
            answer = await g.client.post("/models/create", {"from": "localhost/new:latest"})
            *progress, last = lines(answer.body)
            assert answer.status == 200
            assert {line["type"] for line in progress} <= {"progress"}
            assert progress[-1]["layer"]["current"] == progress[-1]["layer"]["size"] == progress[-1]["total"]
            assert (last["type"], last["mode"]) == ("success", "pull")
            gone = await g.client.post("/models/create", {"from": "localhost/gone:latest"})
            assert (gone.status, gone.json["error"]["code"]) == (404, "not_found")
            broken = lines((await g.client.post("/models/create", {"from": "localhost/broken:1"})).body)
            assert broken[-1]["type"] == "error"
            assert "broke off" in broken[-1]["message"]
            token = await g.client.post("/models/create", {"from": "x", "bearer-token": "secret"})
            assert token.status == 501

    asyncio.run(main())


def test_a_pull_goes_on_without_its_client(short_folder):
    async def main() -> None:
        async with serving(short_folder) as g:
            reader, writer = await g.client.connect()
            body = json.dumps({"from": "localhost/slow:latest"}).encode()
            writer.write(request_bytes("POST", "/models/create", body, {"Content-Type": "application/json"}))
            await read_head(reader)
            first = json.loads(await anext(read_chunks(reader)))
            assert first["layer"]["current"] == 5
            writer.close()
            assert (await g.client.chat()).status == 200  # the rest of the gateway goes on
            (g.library.root / "go").touch()

            async def arrived() -> bool:
                return (await g.client.get("/models/localhost/slow:latest")).status == 200

            await until(arrived)

    asyncio.run(main())


def test_settings_by_hand_count_for_the_very_next_request(short_folder):
    async def main() -> None:
        async with serving(short_folder) as g:
            for keep_alive in ("1h", "2h", "3h"):
                body = {"model": "fake", "keep_alive": keep_alive}
                assert (await g.client.post("/engines/_configure", body)).status == 202
                await g.client.chat()
                (shot,) = g.pool.snapshot()
                assert shot.keep_alive_s == 3600 * int(keep_alive[0])

    asyncio.run(main())


def test_a_model_is_tagged_pushed_and_removed(short_folder):
    async def main() -> None:
        async with serving(short_folder) as g:
            tagged = await g.client.post("/models/fake/tag?repo=localhost/other&tag=v1", b"", {})
            assert (tagged.status, tagged.json["target"]) == (201, "localhost/other:v1")
            assert (await g.client.post("/models/fake/tag?repo=x", b"", {})).status == 400
            pushed = lines((await g.client.request("POST", "/models/fake/push")).body)
            assert (pushed[-1]["type"], pushed[-1]["mode"]) == ("success", "push")
            gone = await g.client.request("DELETE", "/models/localhost/other:v1")
            assert gone.json == [{"Untagged": "localhost/other:v1"}]
            gone = await g.client.request("DELETE", "/models/fake")
            assert gone.json[0] == {"Untagged": NAME}
            assert gone.json[1]["Deleted"].startswith("sha256:")
            assert (await g.client.get("/models")).json == []

    asyncio.run(main())


def test_a_model_that_runs_is_not_removed_but_by_force(short_folder):
    async def main() -> None:
        async with serving(short_folder) as g:
            await g.client.chat()
            refused = await g.client.request("DELETE", "/models/fake")
            assert (refused.status, refused.json["error"]["code"]) == (409, "model_running")
            assert (await g.client.request("DELETE", "/models/purge")).status == 409
            assert (await g.client.request("DELETE", "/models/fake?force")).status == 200
            assert g.pool.snapshot() == ()
            assert (await g.client.request("DELETE", "/models/purge")).status == 200
            assert (await g.client.post("/models/prune", {})).json == {"freed": 7}

    asyncio.run(main())


def test_an_archive_goes_out_and_comes_in(short_folder):
    async def main() -> None:
        async with serving(short_folder) as g:
            out = await g.client.get("/models/fake/export")
            assert (out.status, out.headers["content-type"]) == (200, "application/x-tar")
            await g.client.request("DELETE", "/models/fake")
            reader, writer = await g.client.connect()
            head = request_bytes("POST", "/models/load", None, {"Transfer-Encoding": "chunked"})
            pieces = (out.body[:5], out.body[5:])
            writer.write(
                head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            )
            answer = await read_answer(reader)
            writer.close()
            assert lines(answer.body)[-1]["type"] == "success"
            assert [model["tags"] for model in (await g.client.get("/models")).json] == [[NAME]]
            assert not (g.library.root / "scratch").exists()

    asyncio.run(main())


def test_settings_by_hand_reach_the_next_engine(short_folder):
    async def main() -> None:
        async with serving(short_folder) as g:
            await g.client.chat()
            first = g.pool.snapshot()[0].pid
            body = {
                "model": "fake",
                "keep_alive": "1h",
                "context-size": 2048,
                "runtime-flags": ["--batch-size", "128", "--temp=0.5"],
                "llamacpp": {"reasoning-budget": 0},
            }
            answer = await g.client.post("/engines/_configure", body)
            assert (answer.status, answer.body) == (202, b"")
            (shown,) = (await g.client.get("/engines/_configure?model=fake")).json
            assert (shown["Backend"], shown["Model"], shown["Mode"]) == ("llama.cpp", NAME, "completion")
            assert shown["Config"]["context-size"] == 2048
            assert shown["overrides"]["llamacpp"] == {"batch_size": 128, "reasoning_budget": 0}
            await g.client.chat()
            (running,) = g.pool.snapshot()
            assert running.pid != first
            assert running.keep_alive_s == 3600
            assert (await g.engine_requests())[0]["body"]["temperature"] == 0.5
            assert (await g.client.post("/engines/_configure", body)).status == 202
            assert g.pool.snapshot()[0].pid == running.pid  # nothing changed

    asyncio.run(main())


@pytest.mark.parametrize(("field", "headers"), [({"preload": True}, {}), ({}, {"X-Preload-Only": "true"})])
def test_settings_by_hand_load_the_model_where_that_is_asked(short_folder, field, headers):
    async def main() -> None:
        async with serving(short_folder) as g:
            body = {"model": "fake", "keep_alive": "1h"}
            assert (await g.client.post("/engines/_configure", body)).status == 202
            assert not g.pool.snapshot()
            answer = await g.client.post("/engines/_configure", {**body, **field}, headers)
            assert (answer.status, answer.body) == (202, b"")
            (running,) = g.pool.snapshot()
            assert (running.phase, running.keep_alive_s) == (Phase.READY, 3600)
            assert await g.engine_requests() == []

    asyncio.run(main())


def test_a_model_that_does_not_load_with_its_settings_says_so(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(name="llama.cpp", mode="crash")) as g:
            answer = await g.client.post("/engines/_configure", {"model": "fake", "preload": True})
            assert (answer.status, answer.json["error"]["code"]) == (502, "engine_failed")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"model": "nope"}, 404),
        ({"model": "fake", "context-size": "many"}, 400),
        ({"model": "fake", "runtime-flags": ["--host", "0.0.0.0"]}, 400),
        ({"model": "fake", "raw-runtime-flags": "--model '/etc/passwd"}, 400),
        ({"model": "fake", "speculative": {"draft_model": "x"}}, 501),
    ],
)
def test_settings_that_do_not_fit_are_refused(short_folder, body, status):
    async def main() -> None:
        async with serving(short_folder) as g:
            assert (await g.client.post("/engines/llama.cpp/_configure", body)).status == status
            assert (await g.client.get("/engines/_configure")).json == []

    asyncio.run(main())


def test_settings_wait_for_no_one_who_is_served(short_folder):
    async def main() -> None:
        async with serving(short_folder) as g:
            _, writer = await g.client.start_stream(chunks=1000, delay=0.1)
            answer = await g.client.post("/engines/_configure", {"model": "fake", "keep_alive": "1h"})
            assert (answer.status, answer.json["error"]["code"]) == (409, "model_running")
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/engines/install-backend", {"backend": "vllm"}),
        ("POST", "/engines/uninstall-backend", {"backend": "vllm"}),
        ("GET", "/engines/requests", None),
        ("GET", "/models/fake?remote=true", None),
        ("POST", "/models/fake/repackage", {"target": "x"}),
        ("POST", "/api/create", {"model": "x"}),
    ],
)
def test_what_is_not_done_here_is_said_with_what_to_do(short_folder, method, path, body):
    async def main() -> None:
        async with serving(short_folder) as g:
            content = None if body is None else json.dumps(body).encode()
            headers = {} if body is None else {"Content-Type": "application/json"}
            answer = await g.client.request(method, path, content, headers)
            assert answer.status == 501
            assert answer.json["error"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "prefix", ["", "/v1", "/engines", "/engines/v1", "/engines/llama.cpp", "/engines/llama.cpp/v1"]
)
def test_documents_are_ranked_and_scored(short_folder, prefix):
    async def main() -> None:
        async with serving(short_folder) as g:
            body = {"model": "fake", "query": "q", "documents": ["a", {"text": "b"}, "c"]}
            found = (
                await g.client.post(f"{prefix}/rerank", body | {"top_n": 2, "return_documents": True})
            ).json
            assert [(row["index"], row["document"]["text"]) for row in found["results"]] == [
                (0, "a"),
                (1, "b"),
            ]
            assert (found["model"], found["usage"]["total_tokens"] > 0) == (NAME, True)
            score = {"model": "fake", "text_1": "q", "text_2": ["a", "b"]}
            scored = (await g.client.post(f"{prefix}/score", score)).json
            assert [row["score"] for row in scored["data"]] == [1.0, 0.5]
            wrong = await g.client.post(f"{prefix}/rerank", {"model": "fake", "query": "q", "documents": []})
            assert (wrong.status, wrong.json["error"]["param"]) == (400, "documents")

    asyncio.run(main())


@pytest.mark.parametrize("prefix", ["", "/v1", "/engines/llama.cpp/v1"])
def test_tokens_of_texts_and_chats(short_folder, prefix):
    async def main() -> None:
        async with serving(short_folder) as g:
            ask = g.client.post
            found = (await ask(f"{prefix}/tokenize", {"model": "fake", "prompt": "hi"})).json
            assert found == {"model": NAME, "tokens": [104, 105], "count": 2}
            found = (
                await ask(f"{prefix}/tokenize", {"model": "fake", "content": "h", "with_pieces": True})
            ).json
            assert found["token_strs"] == ["h"]
            found = (await ask(f"{prefix}/tokenize", chat_body())).json
            assert found["count"] == len("<user>hi")
            found = (await ask(f"{prefix}/detokenize", {"model": "fake", "tokens": [104, 105]})).json
            assert found["prompt"] == "hi"
            found = (await ask(f"{prefix}/apply-template", chat_body())).json
            assert found == {"model": NAME, "prompt": "<user>hi"}
            assert (await ask(f"{prefix}/tokenize", {"model": "fake"})).status == 400
            assert (await ask(f"{prefix}/detokenize", {"model": "fake", "tokens": ["x"]})).status == 400

    asyncio.run(main())


def test_tokens_that_an_engine_fails_at_are_the_clients_fault(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(name="llama.cpp", mode="server-error")) as g:
            answer = await g.client.post("/detokenize", {"model": "fake", "tokens": [99_999]})
            assert (answer.status, answer.json["error"]["param"]) == (400, "tokens")

    asyncio.run(main())


def test_an_engine_that_tells_no_tokens_says_so(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            answer = await g.client.post("/v1/tokenize", {"model": "fake", "prompt": "hi"})
            assert (answer.status, answer.json["error"]["code"]) == (501, "unsupported")

    asyncio.run(main())


def test_ignored_fields_are_named_in_a_header(short_folder):
    async def main() -> None:
        async with serving(short_folder) as g:
            body = {"model": "fake", "prompt": "hi", "options": {"num_ctx": 9}, "stream": False}
            answer = await g.client.post("/api/generate", body)
            assert answer.headers["x-mrpack-ignored"] == "options.num_ctx"
            assert "x-mrpack-ignored" not in (await g.client.chat()).headers

    asyncio.run(main())


def test_numbers_count_what_happened(short_folder):
    async def main() -> None:
        async with serving(short_folder) as g:
            await g.client.chat()
            await g.client.chat(stream=True, stream_options={"include_usage": True})
            await g.client.post("/api/chat", {"model": "fake", "messages": chat_body()["messages"]})
            await g.client.chat("nope")
            answer = await metrics_with(g, 'backend="llama.cpp"')
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            text = answer.body.decode()
            model = f'model="{NAME}"'
            for line in (
                f'mrpack_requests_total{{route="/chat/completions",status="200",{model}}} 2',
                f'mrpack_requests_total{{route="/api/chat",status="200",{model}}} 1',
                'mrpack_requests_total{route="/chat/completions",status="404",model=""} 1',
                f'mrpack_tokens_total{{{model},kind="completion"}} 15',
                f'mrpack_tokens_total{{{model},kind="prompt"}} 9',
                f"mrpack_time_to_first_byte_seconds_count{{{model}}} 3",
                f'mrpack_engines{{{model},engine="llama.cpp",mode="completion",phase="ready"}} 1',
                "mrpack_requests_waiting 0",
                f'llamacpp:requests_total{{slot="0",backend="llama.cpp",{model},mode="completion"}} 3',
            ):
                assert line in text.splitlines(), line
            names = [line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE")]
            assert len(names) == len(set(names))

    asyncio.run(main())


def test_the_description_names_every_route(short_folder):
    async def main() -> None:
        async with serving(short_folder) as g:
            document = (await g.client.get("/openapi.json")).json
            described = {
                (method.upper(), path) for path, item in document["paths"].items() for method in item
            }
            assert described == {(route.method, path) for path, route in mounted()}
            ids = [
                operation["operationId"] for item in document["paths"].values() for operation in item.values()
            ]
            assert len(ids) == len(set(ids))
            for path, item in document["paths"].items():
                for operation in item.values():
                    parameters = operation.get("parameters", ())
                    named = [parameter["name"] for parameter in parameters if parameter["in"] == "path"]
                    assert named == re.findall(r"\{(\w+)\}", path)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "read"),
    [
        (CHAT, lambda body: body["error"]["code"] == "invalid_api_key"),
        ("/v1/messages", lambda body: body["error"]["type"] == "authentication_error"),
        ("/api/chat", lambda body: isinstance(body["error"], str)),
        ("/v1/responses", lambda body: body["error"]["code"] == "invalid_api_key"),
    ],
)
def test_a_missing_key_is_an_error_in_the_shape_of_the_api(short_folder, path, read):
    async def main() -> None:
        async with serving(short_folder, policy=Policy(key_hashes=(hash_key("secret"),))) as g:
            refused = await g.client.post(path, {"model": "fake"})
            assert refused.status == 401
            assert read(refused.json)
            wrong = await g.client.post(path, {"model": "fake"}, {"x-api-key": "secret"})
            assert wrong.status in {200, 400}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"max_tokens": 9, "messages": chat_body()["messages"]}),
        ("/api/chat", {"messages": chat_body()["messages"]}),
        ("/v1/responses", {"input": "hi"}),
        ("/v1/rerank", {"query": "q", "documents": ["a"]}),
    ],
)
@pytest.mark.parametrize("mode", ["server-error", "bad-json", "garbage"])
def test_an_engine_in_trouble_is_an_error_in_the_shape_of_the_api(short_folder, path, body, mode):
    async def main() -> None:
        async with serving(short_folder) as g:
            g.engine.mode = mode
            answer = await g.client.post(path, {**body, "model": "fake", "stream": False})
            assert answer.status in {500, 502}
            assert "error" in answer.json

    asyncio.run(main())

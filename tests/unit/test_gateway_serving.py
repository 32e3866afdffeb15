"""Requests and answers through a gateway with a fake engine behind it."""

from __future__ import annotations

import asyncio
import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from mrpack.errors import AccessDenied, HostRefused
from mrpack_runtime.engine import Operation, TcpEndpoint, UnixEndpoint
from mrpack_runtime.gateway.guard import Policy, hash_key
from mrpack_runtime.scheduling import PoolLimits
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import CHAT, DEADLINE_S, chat_body, exists, gateway, read_events

JSON = {"Content-Type": "application/json"}


def test_a_chat_is_answered_under_the_public_name(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            for name in ("localhost/fake:latest", "fake", str(g.library.find("fake").digest)):
                answer = await g.client.chat(name)
                assert answer.status == 200
                assert answer.headers["content-type"] == "application/json"
                assert answer.json["model"] == "localhost/fake:latest"
                assert answer.json["choices"][0]["message"]["content"] == "Hello from a fake engine."
            assert len(g.engine.launches) == 1

    asyncio.run(main())


@pytest.mark.parametrize("prefix", ["/engines/fake/v1", "/engines/v1", "/v1"])
@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        ("/chat/completions", chat_body(), "choices"),
        ("/completions", {"model": "fake", "prompt": "echo back"}, "choices"),
        ("/embeddings", {"model": "fake", "input": ["a", "bc"]}, "data"),
    ],
)
def test_each_operation_has_three_paths(short_folder, prefix, path, body, key):
    async def main() -> None:
        async with gateway(short_folder) as g:
            answer = await g.client.post(prefix + path, body)
            assert answer.status == 200
            assert answer.json[key]
            assert answer.json["model"] == "localhost/fake:latest"

    asyncio.run(main())


def test_the_engine_sees_the_body_with_its_own_name_and_unknown_fields(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(arguments=("--alias", "inner"))) as g:
            body = chat_body("fake", "hällo \u2028 😀", top_k=3, x={"y": [1, None, 0.1]})
            answer = await g.client.post(CHAT, body, {"Authorization": "Bearer mine", "Cookie": "a=b"})
            assert answer.json["model"] == "localhost/fake:latest"
            seen = (await g.engine_requests())[0]
            assert seen["body"] == {**body, "model": "localhost/fake:latest"}
            assert seen["path"] == CHAT
            assert not {"authorization", "cookie"} & set(seen["headers"])

    asyncio.run(main())


def test_aliases_of_a_digest_share_an_engine_and_keep_their_names(short_folder):
    async def main() -> None:
        async with gateway(short_folder, models=()) as g:
            g.library.add("localhost/one:latest", b"GGUF same")
            g.library.add("localhost/two:latest", b"GGUF same")
            for name in ("localhost/one:latest", "localhost/two:latest"):
                assert (await g.client.chat(name)).json["model"] == name
                answer = await g.client.chat(name, stream=True)
                assert {event["model"] for event in answer.events[:-1]} == {name}
            assert len(g.engine.launches) == 1

    asyncio.run(main())


def test_a_tag_that_moves_is_followed(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            await g.client.chat("fake")
            newer = g.library.add("localhost/fake:latest", b"GGUF newer").digest
            async with asyncio.timeout(DEADLINE_S):
                while newer not in {snapshot.key.digest for snapshot in g.pool.snapshot()}:
                    assert (await g.client.chat("fake")).status == 200
                assert len(g.engine.launches) == 2
                g.library.remove("localhost/fake:latest")
                while (await g.client.chat("fake")).status != 404:
                    pass

    asyncio.run(main())


WRONG = [
    ("POST", CHAT, b"{", JSON, 400, "invalid_json", None),
    ("POST", CHAT, b"[]", JSON, 400, "invalid_json", None),
    ("POST", CHAT, b"", JSON, 400, "invalid_json", None),
    ("POST", CHAT, b"\xff\xfe{}", JSON, 400, "invalid_json", None),
    ("POST", CHAT, b"{}", JSON, 400, "invalid_request", "model"),
    ("POST", CHAT, b'{"model": ""}', JSON, 400, "invalid_request", "model"),
    ("POST", CHAT, b'{"model": 3}', JSON, 400, "invalid_request", "model"),
    ("POST", CHAT, b'{"model": "fake", "n_discard": -1}', JSON, 400, "invalid_request", "n_discard"),
    ("POST", CHAT, b'{"model": "nope"}', JSON, 404, "model_not_found", "model"),
    ("POST", "/engines/nope/v1/chat/completions", b'{"model": "fake"}', JSON, 404, "unknown_url", None),
    ("POST", "/engines/fake/v1/chat/completions", b'{"model": "plain"}', JSON, 409, "engine_mismatch", None),
    ("POST", CHAT, b'{"model": "plain"}', JSON, 501, "unsupported", None),
    ("POST", "/v1/moderations", b"{}", JSON, 404, "unknown_url", None),
    ("GET", "/nope", None, {}, 404, "unknown_url", None),
    ("GET", "/v1/models/nope", None, {}, 404, "model_not_found", "model"),
    ("GET", CHAT, None, {}, 405, "method_not_allowed", None),
    ("DELETE", "/v1/models", None, {}, 405, "method_not_allowed", None),
    ("PUT", "/health", None, {}, 405, "method_not_allowed", None),
    ("POST", CHAT, b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type", None),
    ("POST", CHAT, b"{}", {}, 415, "unsupported_media_type", None),
    ("POST", CHAT, b"{}", {**JSON, "Content-Encoding": "gzip"}, 415, "unsupported_media_type", None),
    ("POST", CHAT, b"", {**JSON, "Content-Length": "99999999"}, 413, "request_too_large", None),
    ("POST", "/engines/unload", b"{}", JSON, 400, "invalid_request", "models"),
    ("POST", "/engines/unload", b'{"models": "fake"}', JSON, 400, "invalid_request", "models"),
    ("GET", "/logs?follow=perhaps", None, {}, 400, "invalid_request", "follow"),
]


def test_wrong_requests_get_openai_errors_with_the_right_status(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            g.library.add("localhost/plain:latest", b"plain", model_format="plain")
            for method, path, body, headers, status, code, param in WRONG:
                answer = await g.client.request(method, path, body, headers)
                case = f"{method} {path} {body!r} {headers}"
                assert answer.status == status, case
                error = answer.json["error"]
                assert (error["code"], error["param"]) == (code, param), case
                assert error["message"], case
                assert error["type"] == ("invalid_request_error" if status < 500 else "server_error"), case
                assert answer.headers["content-type"] == "application/json", case
            assert not g.engine.launches

    asyncio.run(main())


def test_a_wrong_method_is_told_the_right_ones(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            assert (await g.client.get(CHAT)).headers["allow"] == "POST, OPTIONS"
            answer = await g.client.request("OPTIONS", "/v1/models")
            assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")

    asyncio.run(main())


def test_foreign_hosts_and_origins_are_refused_on_every_route(short_folder):
    async def main() -> None:
        async with gateway(short_folder, policy=Policy(origins=("http://localhost:*",))) as g:
            for path in ("/", "/health", "/v1/models", "/nope", "/engines/ps"):
                for method in ("GET", "OPTIONS", "POST"):
                    foreign = await g.client.request(method, path, host="evil.example.com")
                    assert foreign.status == 403
                    page = await g.client.request(method, path, headers={"Origin": "http://evil.example.com"})
                    assert page.status == 403
                    assert "access-control-allow-origin" not in page.headers
            assert (await g.client.request("GET", "/", host=None)).status == 400

    asyncio.run(main())


def test_an_allowed_page_may_ask_first_and_then_chat(short_folder):
    async def main() -> None:
        origin = {"Origin": "http://localhost:3000"}
        policy = Policy(origins=("http://localhost:*",), key_hashes=(hash_key("k"),))
        async with gateway(short_folder, policy=policy) as g:
            asked = {
                **origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
            }
            preflight = await g.client.request("OPTIONS", CHAT, headers=asked)
            assert preflight.status == 204
            assert preflight.headers["access-control-allow-origin"] == "http://localhost:3000"
            assert preflight.headers["access-control-allow-methods"] == "POST, OPTIONS"
            assert "x-stainless-lang" in preflight.headers["access-control-allow-headers"]
            for stream in (False, True):
                body = chat_body(stream=stream)
                answer = await g.client.post(CHAT, body, {**origin, "Authorization": "Bearer k"})
                assert answer.status == 200
                assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
                assert answer.headers["vary"] == "Origin"
            refused = await g.client.post(CHAT, chat_body(), origin)
            assert refused.status == 401
            assert refused.headers["access-control-allow-origin"] == "http://localhost:3000"

    asyncio.run(main())


def test_a_key_is_asked_for_except_by_probes(short_folder):
    async def main() -> None:
        async with gateway(short_folder, policy=Policy(key_hashes=(hash_key("secret"),))) as g:
            for path in ("/", "/health", "/ready", "/version"):
                assert (await g.client.get(path)).status == 200
            for path in ("/v1/models", "/engines/ps", "/logs", "/engines/status"):
                refused = await g.client.get(path)
                assert refused.status == 401
                assert refused.json["error"]["code"] == "invalid_api_key"
                assert refused.headers["www-authenticate"].startswith("Bearer")
                assert (await g.client.get(path, {"Authorization": "Bearer secret"})).status == 200
                assert (await g.client.get(path, {"X-Api-Key": "secret"})).status == 200

    asyncio.run(main())


def test_management_and_log_tails_stay_on_this_machine(short_folder):
    async def main() -> None:
        policy = Policy(beyond_loopback=True, key_hashes=(hash_key("k"),))
        key = {"Authorization": "Bearer k"}
        async with gateway(short_folder, FakeEngine(mode="crash"), policy=policy) as g:
            assert (await g.client.get("/logs", key)).status == 403
            assert (await g.client.post("/engines/unload", {"all": True}, key)).status == 403
            assert "command" not in json.dumps((await g.client.get("/engines/ps?wide=true", key)).json)
            failed = await g.client.post(CHAT, chat_body(), key)
            assert failed.status == 502
            assert "log_tail" not in failed.json["error"]

    asyncio.run(main())


def test_other_machines_are_not_served_without_a_key(short_folder):
    async def main() -> None:
        with pytest.raises(AccessDenied):
            async with gateway(short_folder, policy=Policy(beyond_loopback=True)):
                pass

    asyncio.run(main())


def test_models_are_listed_as_openai_and_docker_model_runner_do(short_folder):
    async def main() -> None:
        async with gateway(short_folder, models=("localhost/a:latest", "localhost/b:1")) as g:
            g.library.add("localhost/a:other", b"GGUF 0")
            await g.client.chat("a")
            for prefix in ("/engines/fake/v1", "/engines/v1", "/v1"):
                listed = (await g.client.get(f"{prefix}/models")).json
                assert listed["object"] == "list"
                assert [model["id"] for model in listed["data"]] == ["localhost/a:latest", "localhost/b:1"]
            first, second = listed["data"]
            assert first["object"] == "model"
            assert first["created"] == 1700000000
            assert first["owned_by"]
            assert first["dmr"] == {"parameters": "1K", "size": "9B"}
            assert first["mrpack"]["names"] == ["localhost/a:latest", "localhost/a:other"]
            assert (first["mrpack"]["loaded"], second["mrpack"]["loaded"]) == (["fake"], [])
            for name in ("a", "localhost/a:latest", "localhost/a:other", first["mrpack"]["digest"]):
                own = {"id": name} if name in first["mrpack"]["names"] else {}
                assert (await g.client.get(f"/v1/models/{name}")).json == first | own
            assert (await g.client.request("HEAD", "/v1/models")).status == 200

    asyncio.run(main())


def test_what_runs_can_be_seen_and_unloaded(short_folder):
    async def main() -> None:
        async with gateway(short_folder, models=("localhost/a:latest", "localhost/b:latest")) as g:
            assert (await g.client.get("/engines/ps")).json == []
            assert (await g.client.get("/engines/status")).json == {"fake": "Available: program 1.0"}
            await g.client.chat("a")
            await g.client.chat("b")
            assert (await g.client.get("/engines/status")).json == {"fake": "Running: program 1.0"}
            first, second = (await g.client.get("/engines/ps")).json
            assert first["backend_name"] == "fake"
            assert first["model_name"] == "localhost/a:latest"
            assert first["mode"] == "completion"
            assert (first["in_use"], first["loading"], first["keep_alive"]) == (False, False, "300s")
            assert "command" not in first
            wide = (await g.client.get("/engines/ps?wide=true")).json[0]
            assert wide["command"][1].endswith("engine.py")
            assert wide["why"] == "a test asked for it"
            unknown = await g.client.post("/engines/unload", {"models": ["nope"]})
            assert unknown.status == 404
            gone = await g.client.post("/engines/unload", {"models": ["a"], "backend": "fake"})
            assert gone.json == {"unloaded_runners": 1, "busy": []}
            assert not exists(Path(f"/proc/{first['pid']}"))
            assert [entry["model_name"] for entry in (await g.client.get("/engines/ps")).json] == [
                "localhost/b:latest"
            ]
            assert (await g.client.post("/engines/unload", {"all": True})).json["unloaded_runners"] == 1
            assert not exists(Path(f"/proc/{second['pid']}"))

    asyncio.run(main())


def test_busy_engines_are_unloaded_by_force_only(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.start_stream(chunks=1000, delay=0.05)
            kept = await g.client.post("/engines/unload", {"all": True})
            assert kept.json == {"unloaded_runners": 0, "busy": ["localhost/fake:latest"]}
            forced = await g.client.post("/engines/unload", {"all": True, "force": True})
            assert forced.json == {"unloaded_runners": 1, "busy": []}
            assert "was stopped" in [event async for event in read_events(reader)][-1]["error"]["message"]
            writer.close()

    asyncio.run(main())


def test_small_control_routes(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            assert (await g.client.get("/")).body == b"mrpack is running\n"
            assert (await g.client.get("/health")).json == {"status": "ok"}
            assert (await g.client.get("/ready")).json == {"status": "ready"}
            assert (await g.client.get("/version")).json == {"version": "0"}
            assert (await g.client.get("/engines/df")).json == {
                "models_disk_usage": 9,
                "default_backend_disk_usage": 0,
            }
            await g.client.chat()
            logs = (await g.client.get("/logs")).body.decode()
            assert "fake: listening" in logs
            assert "fake: listening" not in (await g.client.get("/logs?no-engines=true")).body.decode()

    asyncio.run(main())


def test_logs_can_be_followed(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.connect()
            writer.write(b"GET /logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await g.client.chat()
            async with asyncio.timeout(20):
                await reader.readuntil(b"fake: listening")
            writer.close()

    asyncio.run(main())


def test_an_answer_shows_nothing_of_the_engines_own_headers(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            for stream in (False, True):
                answer = await g.client.chat(stream=stream)
                assert answer.headers["server"] == "mrpack"
                assert "access-control-allow-origin" not in answer.headers
                assert answer.headers["x-content-type-options"] == "nosniff"

    asyncio.run(main())


def test_a_model_can_be_loaded_without_a_question(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            answer = await g.client.post(CHAT, {"model": "fake"}, {"X-Preload-Only": "true"})
            assert (answer.status, answer.body) == (200, b"")
            assert len(g.pool.snapshot()) == 1
            assert await g.engine_requests() == []

    asyncio.run(main())


def test_chat_and_embeddings_of_a_model_are_two_engines(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            await g.client.chat()
            await g.client.post("/v1/embeddings", {"model": "fake", "input": "x"})
            assert [snapshot.key.operation for snapshot in g.pool.snapshot()] == [
                Operation.COMPLETION,
                Operation.EMBEDDING,
            ]

    asyncio.run(main())


def test_settings_of_the_artifact_count_where_the_request_is_silent(short_folder):
    async def main() -> None:
        async with gateway(short_folder, settings='{"sampling": {"seed": 7}}') as g:
            bundle = g.library.find("fake")
            (bundle.folder / "mrpack.json").write_text(
                '{"sampling": {"temperature": 0.5, "top_k": 3, "max_tokens": 9, "seed": 1},'
                ' "keep_alive": "-1"}'
            )
            await g.client.chat(temperature=0, max_completion_tokens=5)
            seen = (await g.engine_requests())[0]["body"]
            assert (seen["temperature"], seen["top_k"], seen["seed"]) == (0, 3, 7)
            assert "max_tokens" not in seen
            assert (await g.client.get("/engines/ps")).json[0]["keep_alive"] == "-1"
            await g.client.post("/v1/embeddings", {"model": "fake", "input": "x"})
            assert "top_k" not in (await g.engine_requests(1))[0]["body"]

    asyncio.run(main())


def test_malformed_settings_of_an_artifact_are_its_fault(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            (g.library.find("fake").folder / "mrpack.json").write_text('{"host": "0.0.0.0"}')
            answer = await g.client.chat()
            assert (answer.status, answer.json["error"]["code"]) == (422, "invalid_artifact")

    asyncio.run(main())


def test_an_operation_that_no_engine_has_is_not_implemented(short_folder):
    async def main() -> None:
        engine = FakeEngine(operations=frozenset({Operation.COMPLETION}))
        async with gateway(short_folder, engine) as g:
            answer = await g.client.post("/v1/embeddings", {"model": "fake", "input": "x"})
            assert (answer.status, answer.json["error"]["code"]) == (501, "unsupported")

    asyncio.run(main())


def test_an_engine_that_is_not_installed_is_named_with_the_remedy(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(installed=False)) as g:
            answer = await g.client.chat()
            assert answer.status == 501
            assert "pip install fake-engine" in answer.json["error"]["message"]
            assert (await g.client.get("/engines/status")).json["fake"].startswith("Not Installed")

    asyncio.run(main())


def test_engines_on_tcp_are_reached_too(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(tcp=True)) as g:
            assert (await g.client.chat()).status == 200
            assert (await g.client.chat(stream=True)).text == "Hello from a fake engine."

    asyncio.run(main())


def test_a_unix_socket_is_ours_alone(short_folder):
    async def main() -> None:
        endpoint = UnixEndpoint(short_folder / "gateway.sock")
        async with gateway(short_folder, endpoint=endpoint, policy=Policy(check_host=False)) as g:
            assert stat.S_IMODE(endpoint.path.stat().st_mode) == 0o600
            assert (await g.client.chat()).status == 200
            with pytest.raises(HostRefused):
                async with gateway(short_folder, endpoint=endpoint, policy=Policy(check_host=False)):
                    pass
            assert (await g.client.chat()).status == 200
        assert not endpoint.path.exists()

    asyncio.run(main())


def test_a_stale_socket_is_replaced_and_another_file_is_not(short_folder):
    async def main() -> None:
        path = short_folder / "gateway.sock"
        stale = await asyncio.start_unix_server(lambda *_: None, path)
        stale.close()
        await stale.wait_closed()
        assert path.exists()
        async with gateway(short_folder, endpoint=UnixEndpoint(path), policy=Policy(check_host=False)) as g:
            assert (await g.client.get("/health")).status == 200
        path.write_text("precious")
        with pytest.raises(HostRefused):
            async with gateway(short_folder, endpoint=UnixEndpoint(path)):
                pass
        assert path.read_text() == "precious"

    asyncio.run(main())


def test_a_taken_port_is_an_error_that_says_what_to_try(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            endpoint = g.client.endpoint
            assert isinstance(endpoint, TcpEndpoint)
            with pytest.raises(HostRefused, match=str(endpoint.port)) as caught:
                async with gateway(short_folder, endpoint=endpoint):
                    pass
            assert "another gateway" in str(caught.value.hint)

    asyncio.run(main())


@pytest.mark.parametrize("host", ["nosuch.invalid", "192.0.2.7"])
def test_an_address_of_no_machine_or_another_is_not_blamed_on_a_gateway(short_folder, host):
    async def main() -> None:
        policy = Policy(beyond_loopback=True, key_hashes=(hash_key("k"),))
        with pytest.raises(HostRefused, match=host) as caught:
            async with gateway(short_folder, endpoint=TcpEndpoint(0, host), policy=policy):
                pass
        assert "address of this machine" in str(caught.value.hint)

    asyncio.run(main())


def test_full_engines_are_told_with_retry_after(short_folder):
    async def main() -> None:
        limits = PoolLimits(max_loaded=1)
        async with gateway(
            short_folder, limits=limits, models=("localhost/a:latest", "localhost/b:latest")
        ) as g:
            _, writer = await g.client.start_stream("a", chunks=1000, delay=0.05)
            g.pool._schedule.limits = replace(limits, wait_s=0.1)
            answer = await g.client.chat("b")
            assert (answer.status, answer.json["error"]["code"]) == (503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
            writer.close()

    asyncio.run(main())

"""Who may ask: by the Host and the Origin that a request names, and by its key."""

from __future__ import annotations

import asyncio
import json

import pytest

from mrpack.errors import AccessDenied
from mrpack_runtime.gateway.guard import Policy, hash_key
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import CHAT, chat_body, gateway


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

"""An engine in trouble, on every API's routes: one clear error in its shape, and a gateway that goes on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mrpack_runtime.scheduling import PoolLimits
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import CHAT, Answer, gateway
from tests.fakes.odd_requests.row import GENERATE, MESSAGES, NEEDED, OLLAMA_CHAT, RESPONSES, family

# By mode of tests/fakes/engine.py: status, OpenAI's code, and a word of the reason.
FAULTS: dict[str, tuple[int, str, str]] = {
    "crash": (502, "engine_failed", "tensor data is cut"),
    "oom": (502, "engine_failed", "SIGKILL"),
    "crash-loop": (502, "engine_failed", "GGML_ASSERT"),
    "oom-on-request": (502, "engine_failed", "SIGKILL"),
    "hang": (502, "engine_failed", "not ready after"),
    "garbage": (502, "engine_broke_protocol", "does not speak HTTP"),
    "bad-json": (502, "engine_broke_protocol", "not JSON"),
    "server-error": (500, "engine_error", "fake failure"),
}
ROUTES = (CHAT, "/v1/completions", "/v1/embeddings", MESSAGES, RESPONSES, OLLAMA_CHAT, GENERATE, "/v1/rerank")
TOKENS = ("/v1/tokenize", f"{MESSAGES}/count_tokens")
SURVIVED = {"garbage", "bad-json", "server-error"}
FAMILIES = (CHAT, MESSAGES, RESPONSES, OLLAMA_CHAT)
BROKEN_OFF = ("die-mid-stream", "cut-stream")
STREAMS = (CHAT, "/v1/completions", MESSAGES, RESPONSES, OLLAMA_CHAT, GENERATE)
# Crashes are meant here.
LIMITS = PoolLimits(crash_limit=100)


def check_shape(path: str, answer: Answer, code: str, reason: str) -> None:
    body = answer.json
    assert answer.headers["content-type"] == "application/json"
    match family(path):
        case "ollama":
            assert reason in body["error"]
        case "anthropic":
            assert (body["type"], body["error"]["type"]) == ("error", "api_error")
            assert reason in json.dumps(body)
        case _:
            error = body["error"]
            assert (error["type"], error["code"]) == ("server_error", code)
            assert reason in error["message"] + error.get("log_tail", "")


@pytest.mark.parametrize("mode", FAULTS)
def test_each_fault_is_told_as_the_api_tells_it(short_folder, mode):
    status, code, reason = FAULTS[mode]
    # The others kill their engine: it is started again for each route.
    routes = (*ROUTES, *TOKENS) if mode in SURVIVED else FAMILIES

    async def main() -> None:
        engine = FakeEngine(name="llama.cpp", mode=mode)
        async with gateway(
            short_folder, engine, limits=LIMITS, ready_timeout_s=0.3 if mode == "hang" else 60
        ) as g:
            for path in routes:
                answer = await g.client.post(path, {"model": "fake", **NEEDED[path]})
                expected = 502 if path in TOKENS else status
                assert answer.status == expected, (path, answer)
                check_shape(
                    path,
                    answer,
                    "engine_broke_protocol" if path in TOKENS and status == 500 else code,
                    reason,
                )
            assert (await g.client.get("/health")).status == 200

    asyncio.run(main())


def last_event(path: str, answer: Answer) -> Any:
    if family(path) == "ollama":
        return json.loads(answer.body.splitlines()[-1])
    return answer.events[-1]


@pytest.mark.parametrize("mode", BROKEN_OFF)
def test_a_stream_that_breaks_off_ends_as_the_api_tells_it(short_folder, mode):
    async def main() -> None:
        engine = FakeEngine(name="llama.cpp", mode=mode)
        async with gateway(short_folder, engine, limits=LIMITS) as g:
            for path in STREAMS:
                answer = await g.client.post(path, {"model": "fake", **NEEDED[path], "stream": True})
                assert answer.status == 200, (path, answer)
                last = last_event(path, answer)
                match family(path):
                    case "ollama":
                        assert isinstance(last["error"], str)
                        assert "done" not in last
                    case "anthropic":
                        assert (last["type"], last["error"]["type"]) == ("error", "api_error")
                    case _ if path == RESPONSES:
                        assert last["type"] == "response.failed"
                        assert last["response"]["error"]["message"]
                    case _:
                        assert last["error"]["type"] == "server_error"
                        assert last["error"]["message"]

    asyncio.run(main())

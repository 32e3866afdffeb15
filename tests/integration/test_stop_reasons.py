"""Why an answer ended, as Anthropic's clients are told, by what llama.cpp really says of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mrpack_runtime.engine import EngineSettings
from mrpack_runtime.protocols import Served
from mrpack_runtime.protocols.anthropic.request import parse_message_request
from tests.fakes.tiny_gguf import write_markov
from tests.integration.launchers import CHAT, LAUNCHERS, bundle, make_setup

pytestmark = pytest.mark.engine

CONTEXT = 128
QUESTION = [{"role": "user", "content": "Who are you?"}]
SERVED = Served(model="m", asked_at=0.0, ready_at=0.0, clock=lambda: 0.0)


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("stream", [False, True])
def test_the_end_has_its_reason(short_folder: Path, launcher: str, stream: bool) -> None:
    setup = make_setup(launcher, short_folder)

    async def main() -> None:
        settings = EngineSettings(threads=1, context_size=CONTEXT)
        async with setup.client(bundle(write_markov(short_folder)), settings) as client:

            async def reason(**body: Any) -> str:
                asked = parse_message_request(
                    {"model": "m", "messages": QUESTION, "temperature": 0, "stream": stream, **body}
                )
                answer, answering = await client.post(CHAT, asked.body), asked.answering(SERVED)
                if not stream:
                    return str(answering.answer(answer.body)["stop_reason"])
                for event in answer.events:
                    if event != "[DONE]":
                        answering.chunk(event)
                (told,) = [event for event in answering.end() if event["type"] == "message_delta"]
                return str(told["delta"]["stop_reason"])

            assert await reason(max_tokens=3) == "max_tokens"
            assert await reason(max_tokens=64) == "end_turn"
            endless = {"logit_bias": {"2": -100}} if launcher == "llama-cpp-python" else {"ignore_eos": True}
            assert await reason(max_tokens=9, **endless) == "max_tokens"
            assert await reason(max_tokens=10 * CONTEXT, **endless) == "model_context_window_exceeded"

    asyncio.run(main())

"""OpenAI's chats on their way to an engine: what is null in them says no more than what is absent."""

from __future__ import annotations

import asyncio

from mrpack_runtime.protocols.conversation import leave_out_nulls
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import CHAT, gateway

GIVEN = {
    "messages": [
        {"role": "user", "content": "hi", "name": None},
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "tool_calls": [
                {"id": None, "type": "function", "function": {"name": "f", "arguments": "{}"}, "index": None}
            ],
        },
        {"role": "tool", "content": "x", "tool_call_id": "a"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "description": None, "strict": None}}],
}
LEFT = {
    "messages": [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "x", "tool_call_id": "a"},
    ],
    "tools": [{"type": "function", "function": {"name": "f"}}],
}


def test_engines_see_no_nulls_but_of_content(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(name="llama.cpp")) as g:
            assert (await g.client.post(CHAT, {"model": "fake", **GIVEN})).status == 200
            assert (await g.client.post("/v1/apply-template", {"model": "fake", **GIVEN})).status == 200
            seen = [request["body"] for request in await g.engine_requests()]
            assert [{name: body[name] for name in LEFT} for body in seen] == [LEFT, LEFT]

    asyncio.run(main())


def test_what_is_malformed_is_left_to_the_checks():
    for body in (
        {"messages": 7, "tools": None},
        {"messages": [7, None, {"tool_calls": 7}], "tools": [None, {}, {"function": 7}]},
    ):
        before = repr(body)
        leave_out_nulls(body)
        assert repr(body) == before

"""Fields of OpenAI's chat, completions and embeddings; odd ones that are fine are last."""

from __future__ import annotations

import json

from tests.fakes.gateway import CHAT
from tests.fakes.odd_requests.row import MODEL, NEEDED, Odd, field, posted, raw

OPENAI = (
    field(CHAT, "messages", ...),
    field(CHAT, "messages", None),
    field(CHAT, "messages", []),
    field(CHAT, "messages", "hi"),
    field(CHAT, "messages", [7], param="messages[0]"),
    field(CHAT, "messages", [{}], param="messages[0].role"),
    field(CHAT, "messages", [{"role": "user", "content": 7}], param="messages[0].content"),
    field(
        CHAT,
        "messages",
        [{"role": "user", "content": [{"type": "text"}]}],
        param="messages[0].content[0].text",
    ),
    field(CHAT, "messages", [{"role": "user", "content": "hi"}] * 8193),
    *(
        field(
            CHAT, "messages", [{"content": [part], "role": "user"}], param=f"messages[0].content[0].{where}"
        )
        for part, where in (
            ({"type": "image_url"}, "image_url"),
            ({"type": "image_url", "image_url": {"url": 7}}, "image_url.url"),
            ({"type": "input_audio", "input_audio": {"format": "wav"}}, "input_audio.data"),
        )
    ),
    field(CHAT, "messages", [{"content": [{"type": "file", "file": {"file_id": "f"}}], "role": "user"}], 501),
    field(CHAT, "messages", [{"tool_calls": 7, "role": "assistant"}], param="messages[0].tool_calls"),
    field(
        CHAT,
        "messages",
        [{"tool_calls": [{"function": {}}], "role": "assistant"}],
        param="messages[0].tool_calls[0].function.name",
    ),
    *(
        field(CHAT, "messages", [{name: 7, "role": "user", "content": "hi"}], param=f"messages[0].{name}")
        for name in ("name", "tool_call_id", "reasoning_content")
    ),
    *(
        field(
            CHAT,
            "messages",
            [{"tool_calls": [call], "role": "assistant"}],
            param=f"messages[0].tool_calls[0].{where}",
        )
        for call, where in (
            ({"id": "a", "function": {"name": "f", "arguments": "{}"}}, "type"),
            ({"id": 7, "type": "function", "function": {"name": "f", "arguments": "{}"}}, "id"),
            ({"function": {"name": "f"}, "type": "function", "id": "a"}, "function.arguments"),
        )
    ),
    field(
        CHAT,
        "messages",
        [{"tool_calls": [{"type": "custom", "id": "a", "function": {"name": "f"}}], "role": "assistant"}],
        501,
    ),
    field(CHAT, "n", 0),
    field(CHAT, "n", 100_000),
    field(CHAT, "n", "2"),
    field(CHAT, "temperature", 99),
    field(CHAT, "temperature", -1),
    field(CHAT, "temperature", "hot"),
    field(CHAT, "temperature", True),
    field(CHAT, "top_p", 2),
    field(CHAT, "max_tokens", 0),
    field(CHAT, "max_tokens", -5),
    field(CHAT, "max_tokens", 1.5),
    field(CHAT, "max_tokens", "9"),
    field(CHAT, "max_tokens", 2**40),
    field(CHAT, "max_completion_tokens", 0),
    field(CHAT, "max_completion_tokens", -5),
    field(CHAT, "stop", 7),
    field(CHAT, "stop", ""),
    field(CHAT, "stop", ["x"] * 100),
    field(CHAT, "stop", [7], param="stop[0]"),
    field(CHAT, "logit_bias", 7),
    field(CHAT, "logit_bias", {"5": "much"}),
    field(CHAT, "repeat_last_n", 2**31 - 1),
    field(CHAT, "dry_penalty_last_n", 2**31 - 1),
    field(CHAT, "n_probs", 1000),
    field(CHAT, "response_format", "json"),
    field(CHAT, "response_format", {"type": "yaml"}, param="response_format.type"),
    field(CHAT, "response_format", {"type": "json_schema"}, param="response_format.json_schema"),
    field(
        CHAT,
        "response_format",
        {"json_schema": {"name": "x"}, "type": "json_schema"},
        param="response_format.json_schema.schema",
    ),
    field(
        CHAT,
        "response_format",
        {"schema": 7, "type": "json_object"},
        param="response_format.schema",
    ),
    field(CHAT, "grammar", 7),
    field(CHAT, "json_schema", 7),
    field(CHAT, "reasoning_effort", 7),
    field(CHAT, "reasoning_format", "loud"),
    field(CHAT, "thinking_budget_tokens", -5),
    field(CHAT, "chat_template_kwargs", 7),
    field(CHAT, "seed", 2**70),
    field(CHAT, "seed", "x"),
    field(CHAT, "stream", "yes"),
    field(CHAT, "stream", 1),
    field(CHAT, "stream_options", 7),
    field(CHAT, "tools", "x"),
    field(CHAT, "tools", [{"type": "function"}], param="tools[0].function"),
    field(
        CHAT,
        "tools",
        [{"type": "function", "function": {"name": "f", "parameters": "x"}}],
        param="tools[0].function.parameters",
    ),
    field(
        CHAT,
        "tools",
        [{"function": {"name": "f", "description": 7}, "type": "function"}],
        param="tools[0].function.description",
    ),
    field(CHAT, "tools", [{"type": "custom", "custom": {"name": "f"}}], 501),
    field(CHAT, "tool_choice", "sometimes"),
    field(CHAT, "tool_choice", 7),
    field(CHAT, "tool_choice", "required"),
    field(CHAT, "tool_choice", {"type": "function", "function": {"name": "f"}}),
    field(CHAT, "logprobs", "x"),
    field(CHAT, "top_logprobs", 500),
    field(CHAT, "frequency_penalty", 9),
    field(CHAT, "presence_penalty", "x"),
    field("/v1/completions", "prompt", ...),
    field("/v1/completions", "prompt", 7),
    field("/v1/completions", "prompt", []),
    field("/v1/completions", "prompt", [1, 2**40], param="prompt[1]"),
    field("/v1/completions", "prompt", ["x", [1, -1]], param="prompt[1]"),
    field("/v1/completions", "echo", "x"),
    field("/v1/completions", "logprobs", "x"),
    field("/v1/completions", "logprobs", 21),
    field("/v1/embeddings", "input", ...),
    field("/v1/embeddings", "input", []),
    field("/v1/embeddings", "input", 7),
    field("/v1/embeddings", "encoding_format", "hex"),
    field("/v1/embeddings", "dimensions", -1),
)
# Odd, and fine.
FINE = (
    posted(
        "nulls",
        {"model": MODEL, **NEEDED[CHAT], "seed": None, "stop": None, "tools": None, "response_format": None},
        200,
        needs_text=True,
    ),
    posted(
        "nulls in messages",
        {
            "model": MODEL,
            "messages": [
                {"role": "user", "content": "Hi", "name": None},
                {"role": "assistant", "content": "Hello", "tool_calls": None, "reasoning_content": None},
                {"role": "user", "content": "Who are you?", "tool_call_id": None},
            ],
            "max_tokens": 4,
        },
        200,
        needs_text=True,
    ),
    Odd(
        "HTTP/1.0 with an answer",
        raw(
            "POST",
            CHAT,
            json.dumps({"model": MODEL, **NEEDED[CHAT]}).encode(),
            "Content-Type: application/json",
            version="1.0",
        ),
        200,
        needs_text=True,
    ),
    Odd(
        "HTTP/1.0 with a stream",
        raw(
            "POST",
            CHAT,
            json.dumps({"model": MODEL, "stream": True, **NEEDED[CHAT]}).encode(),
            "Content-Type: application/json",
            version="1.0",
        ),
        200,
        needs_text=True,
    ),
    posted(
        "a NUL",
        {"model": MODEL, "messages": [{"role": "user", "content": "a\0b"}], "max_tokens": 4},
        200,
        needs_text=True,
    ),
    field(CHAT, "store", True, 200),
    field(CHAT, "user", "ada", 200),
    posted(
        "both halves of a smile",
        {"model": MODEL, "messages": [{"role": "user", "content": "\U0001f600 \\ud83d"}], "max_tokens": 4},
        200,
        needs_text=True,
    ),
    posted(
        "fields of nobody",
        {"model": MODEL, **NEEDED[CHAT], "x-tra": {"a": [None]}},
        200,
        needs_text=True,
    ),
)

"""Tokens of texts and chats, asked of the engine that serves the model."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

from mrpack.errors import Unsupported
from mrpack_runtime.gateway.bodies import encode, get_model, screen
from mrpack_runtime.gateway.proxy import lease, openai_error
from mrpack_runtime.gateway.transcripts import Heard, Transcript
from mrpack_runtime.protocols import CHAT
from mrpack_runtime.protocols.anthropic.request import parse_prompt
from mrpack_runtime.protocols.conversation import choose_tools, leave_out_nulls
from mrpack_runtime.protocols.keeping import FIELD as KEEP_ALIVE
from mrpack_runtime.protocols.keeping import take_keep_alive
from mrpack_runtime.protocols.openai import check_fields
from mrpack_runtime.protocols.refusal import RequestRefused
from mrpack_runtime.protocols.responses.request import parse_response_request
from mrpack_runtime.protocols.tokens import (
    TOKEN_ROUTES,
    Ask,
    TokenRoutes,
    parse_detokenize,
    parse_tokenize,
    templated,
    text_answer,
    token_answer,
)
from mrpack_runtime.wire.http1 import BrokenAnswer, EarlyEnd

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Call
    from mrpack_runtime.gateway.exchange import Reply
    from mrpack_runtime.pool import Lease

# What a template may look at, and what is the gateway's.
_COUNTED: Final = (
    *("messages", "tools", "tool_choice", "parallel_tool_calls", "response_format"),
    *("chat_template_kwargs", "reasoning_effort", KEEP_ALIVE),
)
_ANSWER_LIMIT: Final = 64 * 1024 * 1024


class _EngineError(BrokenAnswer):
    """It lives, and answered with a status from 500 on."""


async def tokenize(call: Call) -> Reply:
    """POST …/tokenize: of `prompt`, or of `messages` in the model's template."""
    body = await call.read_json()
    call.model = get_model(body)
    return call.json(await _tokens(call, parse_tokenize(body)))


async def detokenize(call: Call) -> Reply:
    """POST …/detokenize: the text of `tokens`."""
    body = await call.read_json()
    call.model = get_model(body)
    tokens = parse_detokenize(body)
    with await lease(call, take_keep_alive(body)) as found:
        routes = _routes(call)
        try:
            answer = await _ask(call, found, routes.detokenize(tokens))
        except _EngineError as error:  # as llama-server is at numbers beyond its vocabulary
            raise RequestRefused("tokens: this model has no text for them", param="tokens") from error
        return call.json(text_answer(call.model, routes, answer))


async def apply_template(call: Call) -> Reply:
    """POST …/apply-template: the text that the model gets of `messages`."""
    body = await call.read_json()
    call.model = get_model(body)
    screen(body)
    _check_chat(body)
    with await lease(call, take_keep_alive(body)) as found:
        routes = _routes(call)
        body["model"] = found.served_name
        if routes.template is not None:
            text = templated(body, await _ask(call, found, routes.template(body)))["prompt"]
        else:
            tokens = token_answer(call.model, await _ask(call, found, routes.tokenize(body)))["tokens"]
            answer = await _ask(call, found, routes.detokenize(tokens))
            text = text_answer(call.model, routes, answer)["prompt"]
        return call.json({"model": call.model, "prompt": text})


async def count_tokens(call: Call) -> Reply:
    """POST …/messages/count_tokens: of a request for one of Anthropic's messages."""
    body = await call.read_json()
    call.model = get_model(body)
    prompt = parse_prompt(body)
    found = await _tokens(call, {name: prompt[name] for name in _COUNTED if name in prompt})
    return call.json({"input_tokens": found["count"]})


async def input_tokens(call: Call) -> Reply:
    """POST …/responses/input_tokens: of a request for one of OpenAI's responses."""
    body = await call.read_json()
    call.model = get_model(body)
    prompt = parse_response_request(body, call.gateway.history).body
    found = await _tokens(call, {name: prompt[name] for name in _COUNTED if name in prompt})
    return call.json({"object": "response.input_tokens", "input_tokens": found["count"]})


async def _tokens(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    screen(body)
    if "messages" in body:
        _check_chat(body)
    with await lease(call, take_keep_alive(body)) as found:
        routes = _routes(call)
        body["model"] = found.served_name
        if "messages" in body and routes.template is not None:
            body = templated(body, await _ask(call, found, routes.template(body)))
        return token_answer(call.model, await _ask(call, found, routes.tokenize(body)))


def _check_chat(body: dict[str, Any]) -> None:
    """As before an engine gets it to answer. Raises RequestRefused and Unsupported."""
    leave_out_nulls(body)
    choose_tools(body)
    check_fields(CHAT, body)


def _routes(call: Call) -> TokenRoutes:
    routes = TOKEN_ROUTES.get(call.engine)
    if routes is None:
        raise Unsupported(f"{call.engine} does not tell tokens")
    return routes


async def _ask(call: Call, found: Lease, ask: Ask) -> Any:
    """The engine's answer. Raises RequestRefused, Unsupported, BrokenAnswer."""
    if found.quirks is None:
        return _read(*await _post(call, found, ask.path, ask.body))
    exchange = found.quirks.begin(ask.path, ask.body)
    async with found.turn if found.quirks.serial else nullcontext():
        status, content = await _post(call, found, exchange.path, exchange.body)
    answer = _read(status, content)
    return exchange.answer(status, answer)[1]


async def _post(call: Call, found: Lease, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
    content = encode(body)
    transcript = Transcript(call, path, content) if call.gateway.log_prompts else None
    status: int | None = None
    try:
        connection = await found.upstream.post(path, content)
        try:
            status = connection.head.status
            answer = connection if transcript is None else Heard(connection, transcript)
            return status, await answer.read_all(_ANSWER_LIMIT)
        finally:
            found.upstream.finish(connection)
    except EarlyEnd as error:
        raise await found.blame(error) from error
    finally:
        if transcript is not None:
            transcript.end(status)


def _read(status: int, content: bytes) -> Any:
    if status >= 400:
        message = openai_error(status, content)["error"]["message"]
        if status in {404, 501}:
            raise Unsupported(f"this engine cannot do that: {message}")
        if status < 500:
            raise RequestRefused(message)
        raise _EngineError(f"the engine failed: {message}")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BrokenAnswer("the engine answered with something that is not JSON") from error

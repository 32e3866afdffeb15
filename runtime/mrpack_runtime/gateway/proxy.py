"""Inference: a request goes to the engine that serves its model, the answer comes back as it arrives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from aiohttp.web import Response, StreamResponse

from mrpack.errors import NotFound
from mrpack_runtime.engine import Operation
from mrpack_runtime.gateway.bodies import encode, fill_in, get_model, screen
from mrpack_runtime.gateway.call import JSON_TYPE
from mrpack_runtime.gateway.errors import ModelNotFound, RouteNotFound, error_event
from mrpack_runtime.gateway.events import EventFilter, PassEvents, QuirkyEvents
from mrpack_runtime.gateway.rename import Renamer, renamer_for
from mrpack_runtime.http1 import BrokenAnswer, EarlyEnd, ResponseHead
from mrpack_runtime.pool import Lease
from mrpack_runtime.upstream import Connection
from mrpack_runtime.want import Want

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Call
    from mrpack_runtime.quirks import Exchange

# Of an answer without a stream: up to here it is checked and sent whole, beyond it goes through in pieces.
_WHOLE_LIMIT: Final = 1024 * 1024
# Of an answer that has to be understood as a whole, to be changed.
_PARSE_LIMIT: Final = 64 * 1024 * 1024
_EVENTS: Final = "text/event-stream"
# RFC 9110, 7.6.1; what describes our own body, connection and origin policy; and who the engine is.
_DROPPED: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade"}
    | {"transfer-encoding", "content-length", "content-encoding", "date", "server", "vary", "set-cookie"}
)


async def infer(call: Call) -> StreamResponse:
    """POST of any inference route."""
    request, route = call.request, call.match.route
    body = await call.read_json()
    call.model = get_model(body)
    screen(body)
    assert route.operation is not None  # noqa: S101  # by construction of the table
    want = await _resolve(call, route.operation)
    call.model, call.engine = want.bundle.name, want.key.engine
    lease = await call.gateway.pool.acquire(want)
    try:
        if request.headers.get("X-Preload-Only") == "true":
            return Response(headers=call.headers)
        body["model"] = lease.served_name
        if route.operation is Operation.COMPLETION:
            fill_in(body, want.settings.sampling)
        if lease.quirks is None:
            return await _exchange(call, lease, route.upstream, body, None)
        quirky = lease.quirks.begin(route.upstream, body)
        if not lease.quirks.serial:
            return await _exchange(call, lease, quirky.path, quirky.body, quirky)
        async with lease.turn:
            return await _exchange(call, lease, quirky.path, quirky.body, quirky)
    finally:
        lease.release()


async def _resolve(call: Call, operation: Operation) -> Want:
    engine = call.match.engine
    if engine is not None and engine not in call.gateway.engines:
        raise RouteNotFound(
            f"there is no engine {engine!r}", hint=f"known engines: {', '.join(call.gateway.engines)}"
        )
    try:
        return await call.gateway.resolver.resolve(call.model, engine, operation)
    except NotFound as error:
        raise ModelNotFound(error.message, hint=error.hint) from error


async def _exchange(
    call: Call, lease: Lease, path: str, body: dict[str, Any], quirky: Exchange | None
) -> StreamResponse:
    answer: Connection | None = None
    try:
        answer = await lease.upstream.post(path, encode(body))
        head = answer.head
        if head.status == 200 and head.get("content-type").startswith(_EVENTS):
            return await _stream(call, lease, answer, quirky)
        if quirky is not None:
            return await _translated(call, lease, answer, quirky)
        return await _whole(call, lease, answer)
    except EarlyEnd as error:
        raise await lease.blame(error) from error
    finally:
        if answer is not None:
            lease.upstream.finish(answer)


async def _stream(call: Call, lease: Lease, answer: Connection, quirky: Exchange | None) -> StreamResponse:
    events: EventFilter = (
        PassEvents(renamer_for(lease.served_name, call.model), call.match.route.stream_end)
        if quirky is None
        else QuirkyEvents(renamer_for(lease.served_name, call.model), quirky)
    )
    response = StreamResponse(headers=_headers(call, answer.head))
    response.headers["Cache-Control"] = "no-store"
    await response.prepare(call.request)
    try:
        while piece := await answer.read():
            if passed := events.feed(piece):
                await response.write(passed)
        if rest := events.end():
            await response.write(rest)
    except BrokenAnswer as error:
        reason = await lease.blame(error) if isinstance(error, EarlyEnd) else error
        await response.write(error_event(reason, with_log=not call.gateway.policy.beyond_loopback))
    await response.write_eof()
    return response


async def _whole(call: Call, lease: Lease, answer: Connection) -> StreamResponse:
    head = answer.head
    pieces: list[bytes] = []
    size = 0
    while size <= _WHOLE_LIMIT:
        if not (piece := await answer.read()):
            content = b"".join(pieces)
            if head.status >= 400:
                content = json.dumps(openai_error(head.status, content)).encode()
            else:
                content = renamer_for(lease.served_name, call.model)(_checked(content))
            return Response(status=head.status, body=content, headers=_headers(call, head, JSON_TYPE))
        pieces.append(piece)
        size += len(piece)
    response = StreamResponse(status=head.status, headers=_headers(call, head))
    await response.prepare(call.request)
    renamer = Renamer(call.model)
    await response.write(renamer.feed(b"".join(pieces)))
    pieces.clear()
    while piece := await answer.read():
        await response.write(renamer.feed(piece))
    await response.write(renamer.end())
    await response.write_eof()
    return response


async def _translated(call: Call, lease: Lease, answer: Connection, quirky: Exchange) -> Response:
    content = await answer.read_all(_PARSE_LIMIT)
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    status, body = quirky.answer(answer.head.status, body)
    content = renamer_for(lease.served_name, call.model)(json.dumps(body).encode())
    return Response(status=status, body=content, headers=_headers(call, answer.head, JSON_TYPE))


def _headers(call: Call, head: ResponseHead, content_type: str | None = None) -> dict[str, str]:
    headers = {
        name: value
        for name, value in head.fields
        if name not in _DROPPED and not name.startswith("access-control-")
    }
    if content_type is not None:
        headers["content-type"] = content_type
    return headers | call.headers


def _checked(content: bytes) -> bytes:
    """A look at both ends: it finds what is cut or no JSON at all, and costs nothing."""
    whole = content.strip()
    if not (whole.startswith(b"{") and whole.endswith(b"}")):
        raise BrokenAnswer("the engine answered with something that is not JSON")
    return content


def openai_error(status: int, content: bytes) -> dict[str, Any]:
    """An engine's error in OpenAI's shape, whatever it sent; keys that we do not know stay."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = {}
    found = body.get("error", body) if isinstance(body, dict) else {}
    error = dict(found) if isinstance(found, dict) else {"message": str(found)}
    message = error.get("message") or error.get("detail") or f"the engine answered with status {status}"
    kind = "server_error" if status >= 500 else "invalid_request_error"
    code = error.get("code")
    return {
        "error": {
            **error,
            "message": str(message),
            "type": str(error.get("type") or kind),
            "param": error.get("param"),
            "code": code if isinstance(code, str) else "engine_error",
        }
    }

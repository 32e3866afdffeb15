"""Inference: a request goes to the engine that serves its model, the answer comes back as it arrives."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from mrpack.errors import NotFound, UsageError
from mrpack.model.overrides import duration_s
from mrpack_runtime.engine import Engine, ExplainsErrors, KnowsMedia, KnowsTools, Operation, RenamesSampling
from mrpack_runtime.gateway.bodies import encode, fill_in, get_model, insists_on_call, screen
from mrpack_runtime.gateway.errors import ModelNotFound, error_json
from mrpack_runtime.gateway.events import EventFilter, PassEvents, QuirkyEvents, TranslatedEvents
from mrpack_runtime.gateway.exchange import Reply, Response
from mrpack_runtime.gateway.heads import JSON_TYPE
from mrpack_runtime.gateway.rename import Renamer, renamer_for
from mrpack_runtime.gateway.transcripts import Answer, Heard, Transcript
from mrpack_runtime.pool import Lease
from mrpack_runtime.protocols import CHAT, Answering, Asked, Served
from mrpack_runtime.protocols.conversation import choose_tools, leave_out_nulls
from mrpack_runtime.protocols.ignored import find_ignored
from mrpack_runtime.protocols.keeping import take_keep_alive
from mrpack_runtime.protocols.openai import check_fields
from mrpack_runtime.protocols.refusal import RequestRefused
from mrpack_runtime.want import Want
from mrpack_runtime.wire.http1 import BrokenAnswer, EarlyEnd, ResponseHead
from mrpack_runtime.wire.upstream import Connection

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Call
    from mrpack_runtime.quirks import Exchange

# Of an answer without a stream: up to here it is checked and sent whole, beyond it goes through in pieces.
_WHOLE_LIMIT: Final = 1024 * 1024
# Of a stream: its token counts come last.
_USAGE_WITHIN: Final = 4096
# Of an answer that has to be understood as a whole, to be changed.
_PARSE_LIMIT: Final = 64 * 1024 * 1024
_EVENTS: Final = "text/event-stream"
# OpenAI's, for types of errors that it does not have.
_CODES: Final = {"exceed_context_size_error": "context_length_exceeded"}
# RFC 9110, 7.6.1; what describes our own body, connection and origin policy; and who the engine is.
_DROPPED: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade"}
    | {"transfer-encoding", "content-length", "content-encoding", "date", "server", "vary", "set-cookie"}
)


async def infer(call: Call) -> Reply:
    """POST of any inference route in OpenAI's words, which are the engines', too."""
    return await infer_body(call, await call.read_json())


async def infer_body(call: Call, body: dict[str, Any]) -> Reply:
    """The same once it is read."""
    call.model = get_model(body)
    return await _ask(call, call.match.route.upstream, body, None)


async def infer_form(call: Call) -> Reply:
    """POST of a form with files, which goes to the engine as it came."""
    content, content_type, texts = await call.read_form()
    call.model = get_model(texts)
    with await lease(call, take_keep_alive(texts)) as found:
        if is_preload(call):
            return Response(headers=call.headers)
        path = call.match.route.upstream
        _tell_ignored(call, found, path, texts, ())
        return await _exchange(call, found, path, content, None, None, content_type=content_type)


async def infer_as(call: Call, asked: Asked) -> Reply:
    """The same for a request in other words; `call.model` says for which model."""
    return await _ask(call, asked.path, asked.body, asked)


async def lease(
    call: Call, keep_alive: str | None = None, check: Callable[[Want], None] | None = None
) -> Lease:
    """The engine that serves `call.model` for the route's operation, with its defaults for requests.

    `check` is called when the model and its engine are known, before anything is loaded.
    """
    operation = call.match.route.operation
    want = await resolve(call, operation)
    if check is not None:
        check(want)
    if keep_alive is not None:
        want = replace(want, settings=replace(want.settings, keep_alive_s=duration_s(keep_alive)))
    call.model, call.engine = want.bundle.name, want.key.engine
    call.sampling = want.settings.sampling if operation is Operation.COMPLETION else {}
    return await call.gateway.pool.acquire(want)


async def _ask(call: Call, path: str, body: dict[str, Any], asked: Asked | None) -> Reply:
    has_media = screen(body)
    preload = is_preload(call)
    if path == CHAT and not preload:
        leave_out_nulls(body)
        choose_tools(body)

    def check(want: Want) -> None:
        if not preload:
            check_fields(path, body)
        engine = call.gateway.engines[want.key.engine]
        if has_media and isinstance(engine, KnowsMedia) and (why := engine.media_refusal(want.bundle)):
            raise RequestRefused(why, param="messages")
        if (
            insists_on_call(body)
            and isinstance(engine, KnowsTools)
            and (why := engine.tool_refusal(want.choice.installation, want.bundle))
        ):
            raise RequestRefused(why, param="tool_choice")

    with await lease(call, take_keep_alive(body), check) as found:
        if preload:
            return Response(headers=call.headers)
        _tell_ignored(call, found, path, body, asked.ignored if asked is not None else ())
        body["model"] = found.served_name
        if asked is not None:
            _rename_sampling(body, call.gateway.engines[call.engine])
        if call.sampling:
            fill_in(body, call.sampling)
        if found.quirks is None:
            return await _exchange(call, found, path, encode(body), None, asked)
        quirky = found.quirks.begin(path, body)
        if not found.quirks.serial:
            return await _exchange(call, found, quirky.path, encode(quirky.body), quirky, asked)
        async with found.turn:
            return await _exchange(call, found, quirky.path, encode(quirky.body), quirky, asked)


def is_preload(call: Call) -> bool:
    return call.request.headers.get("X-Preload-Only") == "true"


def _tell_ignored(call: Call, lease: Lease, path: str, body: dict[str, Any], before: tuple[str, ...]) -> None:
    """`before`: what the client's own API has and chat has not."""
    server = call.engine if lease.quirks is None else lease.quirks.name
    if names := (*before, *find_ignored(server, path, body)):
        call.headers["X-Mrpack-Ignored"] = ", ".join(dict.fromkeys(names))


def _rename_sampling(body: dict[str, Any], engine: Engine) -> None:
    """Other protocols have the words of ours for sampling."""
    for ours, theirs in engine.sampling_names.items() if isinstance(engine, RenamesSampling) else ():
        if ours in body:
            body[theirs] = body.pop(ours)


async def resolve(call: Call, operation: Operation | None) -> Want:
    """What serves `call.model`, on the engine in the path where there is one."""
    try:
        return await call.gateway.resolver.resolve(call.model, call.match.engine, operation)
    except NotFound as error:
        raise ModelNotFound(error.message, hint=error.hint) from error
    except UsageError as error:  # malformed, or several have it
        raise RequestRefused(error.message, param="model", hint=error.hint) from error


async def _exchange(
    call: Call,
    lease: Lease,
    path: str,
    content: bytes,
    quirky: Exchange | None,
    asked: Asked | None,
    *,
    content_type: str = JSON_TYPE,
) -> Reply:
    connection: Connection | None = None
    ready_at = time.monotonic()
    transcript = Transcript(call, path, content) if call.gateway.log_prompts else None
    try:
        connection = await lease.upstream.post(path, content, content_type)
        head = connection.head
        answer: Answer = connection if transcript is None else Heard(connection, transcript)
        answering: Answering | None = None
        if asked is not None:
            answering = asked.answering(
                Served(model=call.model, asked_at=call.begun, ready_at=ready_at, clock=time.monotonic)
            )
        if head.status == 200 and head.get("content-type").startswith(_EVENTS):
            return await _stream(call, lease, answer, _filter(call, lease, quirky, asked, answering))
        if quirky is None and answering is None:
            return await _whole(call, lease, answer)
        return await _translated(call, lease, answer, quirky, answering)
    except EarlyEnd as error:
        raise await lease.blame(error) from error
    finally:
        if transcript is not None:
            transcript.end(connection.head.status if connection is not None else None)
        if connection is not None:
            lease.upstream.finish(connection)


def _filter(
    call: Call, lease: Lease, quirky: Exchange | None, asked: Asked | None, answering: Answering | None
) -> EventFilter:
    if asked is not None and answering is not None:
        return TranslatedEvents(answering, asked.framing, quirky)
    rename = renamer_for(lease.served_name, call.model)
    return PassEvents(rename, call.match.route.stream_end) if quirky is None else QuirkyEvents(rename, quirky)


async def _stream(call: Call, lease: Lease, answer: Answer, events: EventFilter) -> Reply:
    headers = _headers(call, answer.head, events.content_type)
    headers["cache-control"] = "no-store"
    stream = call.request.stream(headers)
    before = last = b""
    try:
        while piece := await answer.read():
            if not last:
                _note_first_byte(call)
            before, last = last, piece
            if passed := events.feed(piece):
                await stream.write(passed)
        if rest := events.end():
            await stream.write(rest)
        call.gateway.metrics.counted(call.model, (before + last)[-_USAGE_WITHIN:])
    except BrokenAnswer as error:
        reason = await lease.blame(error) if isinstance(error, EarlyEnd) else error
        with_log = not call.gateway.policy.beyond_loopback
        await stream.write(events.failed(error_json(reason, with_log=with_log)))
    stream.end()
    return stream


def _note_first_byte(call: Call) -> None:
    call.gateway.metrics.first_byte(call.model, time.monotonic() - call.begun)


async def _whole(call: Call, lease: Lease, answer: Answer) -> Reply:
    head = answer.head
    pieces: list[bytes] = []
    size = 0
    while size <= _WHOLE_LIMIT:
        if not (piece := await answer.read()):
            return await _send(call, lease, head, b"".join(pieces))
        pieces.append(piece)
        size += len(piece)
    _note_first_byte(call)
    stream = call.request.stream(_headers(call, head), status=head.status)
    renamer = Renamer(call.model)
    await stream.write(renamer.feed(b"".join(pieces)))
    pieces.clear()
    while piece := await answer.read():
        await stream.write(renamer.feed(piece))
    await stream.write(renamer.end())
    stream.end()
    return stream


async def _send(call: Call, lease: Lease, head: ResponseHead, content: bytes) -> Response:
    """The client gets its answer before the books are kept."""
    status = head.status
    if status >= 400:
        status, error = _explained(call, status, content)
        passed = json.dumps({"error": error}).encode()
    else:
        passed = renamer_for(lease.served_name, call.model)(_checked(content))
    response = Response(status=status, body=passed, headers=_headers(call, head, JSON_TYPE))
    call.request.send(response)
    _note_first_byte(call)
    if head.status < 400:
        call.gateway.metrics.counted(call.model, content)
    return response


async def _translated(
    call: Call, lease: Lease, answer: Answer, quirky: Exchange | None, answering: Answering | None
) -> Response:
    content = await answer.read_all(_PARSE_LIMIT)
    status = answer.head.status
    _note_first_byte(call)
    call.gateway.metrics.counted(call.model, content)
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if quirky is not None:
        status, body = quirky.answer(status, body)
    if status >= 400:
        status, error = _explained(call, status, json.dumps(body).encode() if body is not None else content)
        shown = {"error": error} if answering is None else call.match.route.errors(status, error)
        content = json.dumps(shown).encode()
    elif answering is None:
        content = renamer_for(lease.served_name, call.model)(json.dumps(body).encode())
    elif isinstance(body, dict):
        content = json.dumps(answering.answer(body), ensure_ascii=False).encode(errors="backslashreplace")
    else:
        raise BrokenAnswer("the engine answered with something that is not JSON")
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


def _explained(call: Call, status: int, content: bytes) -> tuple[int, dict[str, Any]]:
    """Status and error for the client, of an engine's answer with an error."""
    error = openai_error(status, content)["error"]
    engine = call.gateway.engines[call.engine]
    return engine.explained(status, error) if isinstance(engine, ExplainsErrors) else (status, error)


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
            "code": code if isinstance(code, str) else _CODES.get(str(error.get("type")), "engine_error"),
        }
    }

"""Request bodies: read within limits, parsed strictly, and refused when they would reach past the model."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NoReturn

from mrpack_runtime.gateway.connections import Deadlines
from mrpack_runtime.gateway.errors import BodyTimeout, NotJson, PayloadTooLarge, UnsupportedMediaType
from mrpack_runtime.gateway.heads import JSON_TYPE
from mrpack_runtime.image_server.form import BadForm, is_form, parse_form
from mrpack_runtime.protocols.refusal import RequestRefused
from mrpack_runtime.scheduling import Overloaded

if TYPE_CHECKING:
    from mrpack_runtime.gateway.exchange import Request

# What `curl -d` says of all that it sends.
_OF_CURL: Final = frozenset({"", "application/x-www-form-urlencoded"})
BODY_LIMIT: Final = 32 * 1024 * 1024
# Of a form with pictures to edit.
FORM_LIMIT: Final = 64 * 1024 * 1024

# Fields that make an engine open files, unpickle tensors or run code; no OpenAI client sends them.
REFUSED_FIELDS: Final = frozenset(
    {
        "prompt_embeds",  # vLLM: a pickled tensor, CVE-2025-62164
        "n_discard",  # llama.cpp: negative values, CVE-2026-21869
        "chat_template",  # vLLM: a program of the client's
        "mm_processor_kwargs",  # vLLM: arguments of a Python constructor
    }
)
# Parts of a message that hold a URL which engines fetch by themselves.
_MEDIA_PARTS: Final = frozenset({"image_url", "audio_url", "video_url", "input_audio"})
# JSON writes what is beyond U+FFFF in two halves; one alone is no text, and engines fail at it.
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_HALF_CHARACTER: Final = re.compile("[\ud800-\udfff]")
# Of JSON: as many take some 0.2 s to read, and meanwhile nobody else is answered. Tokens of the longest
# contexts are fewer; commas in texts count, too.
VALUES_LIMIT: Final = 500_000
# Of a place in a body as errors tell it: keys may be as long as the body.
_PLACE_LIMIT: Final = 80


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """What is too large for a float would be written as Infinity."""
    number = float(text)
    return number if math.isfinite(number) else _refuse_constant(text[:_PLACE_LIMIT])


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
_PLAIN_ENCODER: Final = json.JSONEncoder(ensure_ascii=False)


class BodyRoom:
    """Memory for the bodies of all requests under way, but for those that came in one piece."""

    def __init__(self, size: int = 1024 * 1024 * 1024) -> None:
        self._left = size

    def take(self, size: int) -> None:
        """Raises Overloaded."""
        if size > self._left:
            raise Overloaded("too many large requests at once", retry_after_s=1.0)
        self._left -= size

    def give(self, size: int) -> None:
        self._left += size


async def read_body(
    request: Request, deadlines: Deadlines, hold: Callable[[int], None], limit: int = BODY_LIMIT
) -> bytes:
    """The whole body, for each piece of which `hold` is told its size. Raises as `body_pieces` and `hold`."""
    if request.body.is_complete and (request.body.length or 0) <= limit:
        return request.body.take()
    parts = []
    async for piece in body_pieces(request, deadlines, limit):
        hold(len(piece))
        parts.append(piece)
    return b"".join(parts)


async def body_pieces(
    request: Request, deadlines: Deadlines, limit: int | None = None
) -> AsyncIterator[bytes]:
    """The body as it comes. A client that waits to be told to continue is told to.

    Raises:
        PayloadTooLarge: more than `limit` bytes.
        BodyTimeout: the client stopped sending, or sends too slowly.
    """
    length = request.body.length
    if limit is not None and length is not None and length > limit:
        raise PayloadTooLarge(f"the body has {length} bytes, more than {limit}")
    clock = asyncio.get_running_loop().time
    begun = clock()
    size = 0
    while True:
        try:
            async with asyncio.timeout_at(deadlines.of_next_piece(begun, clock(), size)):
                piece = await request.body.read()
        except TimeoutError as error:
            raise BodyTimeout("the body did not arrive in time") from error
        if not piece:
            return
        size += len(piece)
        if limit is not None and size > limit:
            raise PayloadTooLarge(f"the body has more than {limit} bytes")
        yield piece


async def read_json(
    request: Request, deadlines: Deadlines, hold: Callable[[int], None], *, announced: bool = True
) -> dict[str, Any]:
    """The body as a JSON object; `hold` as in `read_body`.

    Not `announced`: also without its content type, as `curl -d` sends it, unless a web page asks.

    Raises:
        UnsupportedMediaType: not announced as JSON, or compressed.
        NotJson: not a JSON object in UTF-8.
        PayloadTooLarge, BodyTimeout: as `read_body`.
    """
    content_type = request.headers.get("Content-Type", "")
    if not announced and content_type in _OF_CURL and "Origin" not in request.headers:
        content_type = JSON_TYPE
    check_content_type(content_type, request.headers.get("Content-Encoding", ""))
    return parse_object(await read_body(request, deadlines, hold))


async def read_form(
    request: Request, deadlines: Deadlines, hold: Callable[[int], None]
) -> tuple[bytes, str, dict[str, Any]]:
    """The body of a form as it came, its content type, and its fields that are texts.

    `hold` as in `read_body`. A page of another origin could send it unasked; that is what the check of Origin
    is for.

    Raises:
        UnsupportedMediaType: no multipart/form-data, or compressed.
        RequestRefused: malformed.
        PayloadTooLarge, BodyTimeout: as `read_body`.
    """
    content_type = request.headers.get("Content-Type", "")
    if not is_form(content_type):
        raise UnsupportedMediaType("the body must have Content-Type: multipart/form-data")
    _check_encoding(request.headers.get("Content-Encoding", ""))
    content = await read_body(request, deadlines, hold, FORM_LIMIT)
    try:
        form = parse_form(content, content_type)
    except BadForm as error:
        raise RequestRefused(str(error)) from error
    return content, content_type, dict(form.texts)


@lru_cache(maxsize=64)
def check_content_type(content_type: str, encoding: str) -> None:
    """JSON alone: browsers must ask (preflight) before they send it, and do not for forms and plain text."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind != JSON_TYPE:
        raise UnsupportedMediaType("the body must have Content-Type: application/json")
    _check_encoding(encoding)


def _check_encoding(encoding: str) -> None:
    if encoding.lower() not in ("", "identity"):
        raise UnsupportedMediaType("compressed bodies are not accepted")


def parse_object(content: bytes) -> dict[str, Any]:
    """Raises NotJson, PayloadTooLarge, and RequestRefused for what no text can hold."""
    if len(content) > VALUES_LIMIT and sum(map(content.count, b",[{")) > VALUES_LIMIT:
        raise PayloadTooLarge(f"the body has more than {VALUES_LIMIT:,} values")
    try:
        body = _DECODER.decode(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise NotJson(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise NotJson("the body must be a JSON object")
    if _HALF.search(content):
        try:
            _PLAIN_ENCODER.encode(body).encode()
        except (UnicodeEncodeError, RecursionError):  # half a character, or too deep to tell
            _refuse_halves(body)
    return body


def _refuse_halves(body: dict[str, Any]) -> None:
    rest: list[tuple[str, Any]] = [("", body)]
    while rest:
        where, value = rest.pop()
        if isinstance(value, dict):
            rest += [(f"{where}.{name}" if where else name, found) for name, found in value.items()]
            rest += [(where, name) for name in value]  # looked at first: a place that is told is text
        elif isinstance(value, list):
            rest += [(f"{where}[{i}]", found) for i, found in enumerate(value)]
        elif isinstance(value, str) and _HALF_CHARACTER.search(value):
            place = where[:_PLACE_LIMIT]
            raise RequestRefused(f"{place or 'the body'} holds half of a character", param=place or None)


def encode(body: dict[str, Any]) -> bytes:
    """Compact; lone surrogates survive as escapes."""
    return _ENCODER.encode(body).encode()


def get_model(body: dict[str, Any]) -> str:
    """The name of the wanted model. Raises RequestRefused."""
    return get_text(body, "model")


def get_text(body: dict[str, Any], name: str) -> str:
    """A text that is needed. Raises RequestRefused."""
    text = body.get(name)
    if not isinstance(text, str) or not text.strip():
        raise RequestRefused(f"{name} is required", param=name)
    return text


def fill_in(body: dict[str, Any], sampling: Mapping[str, Any]) -> None:
    """The model's own defaults, for what the client leaves open."""
    for name, value in sampling.items():
        if name not in body and not (name == "max_tokens" and "max_completion_tokens" in body):
            body[name] = value


def insists_on_call(body: Mapping[str, Any]) -> bool:
    """Whether the model has to call a function, in OpenAI's words."""
    match body.get("tool_choice"):
        case "required" | {"type": "function"}:
            return bool(body.get("tools"))
        case _:
            return False


def screen(body: dict[str, Any]) -> bool:
    """Whether a message holds pictures or sounds.

    Raises RequestRefused for what would make the engine reach past the model: fetch a URL, open a file.
    """
    if not REFUSED_FIELDS.isdisjoint(body):
        name = min(REFUSED_FIELDS.intersection(body))
        raise RequestRefused(f"{name} is not accepted", param=name)
    messages = body.get("messages")
    has_media = False
    for i, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for j, part in enumerate(content if isinstance(content, list) else ()):
            if isinstance(part, dict) and not _MEDIA_PARTS.isdisjoint(part):
                has_media = True
                _screen_media(part, f"messages[{i}].content[{j}]")
    return has_media


def _screen_media(part: dict[str, Any], where: str) -> None:
    for kind in _MEDIA_PARTS:
        value = part.get(kind)
        url = value.get("url") if isinstance(value, dict) else value
        if isinstance(url, str) and not url.lower().startswith("data:"):
            raise RequestRefused(
                "media must come in the request, as a data: URL; nothing is fetched", param=f"{where}.{kind}"
            )

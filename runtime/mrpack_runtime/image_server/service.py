"""The routes of the image server: OpenAI's generations and edits, and what the gateway asks."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from .fields import from_form
from .form import BadForm, Form, is_form, parse_form
from .line import Ended, Event, Job, Line, Painted, Preview, Step
from .refusal import Refusal
from .wire import Answer, Request
from .wish import Source, Wish, parse_wish

_SEED_BITS: Final = 32
# OpenAI's clients expect it at the end of a stream, and pipelines count no tokens.
_NO_USAGE: Final[Mapping[str, Any]] = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}


class Painter(Protocol):
    """The pipeline, as the routes and the line see it."""

    def check(self, wish: Wish) -> None:
        """In the thread of the event loop, in milliseconds. Raises Refusal for what cannot be painted."""
        ...

    def paint(self, job: Job) -> None:
        """In the thread of the line; reports Step, Preview and Painted.

        Raises:
            Left: the client is gone.
            Refusal: and any other error that a pipeline has.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Kind:
    """`name` begins the types of its events, as OpenAI calls them."""

    name: str


_GENERATION: Final = _Kind("image_generation")
_EDIT: Final = _Kind("image_edit")


class Service:
    """`model` is the public name, `defaults` its settings `diffusers.*`. Belongs to one event loop."""

    def __init__(
        self,
        painter: Painter,
        line: Line,
        *,
        model: str,
        defaults: Mapping[str, Any],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._painter = painter
        self._line = line
        self._model = model
        self._defaults = defaults
        self._clock = clock
        self._routes = {
            "/health": {"GET": self._health},
            "/metrics": {"GET": self._metrics},
            "/v1/models": {"GET": self._models},
            "/v1/images/generations": {"POST": self._generate},
            "/v1/images/edits": {"POST": self._edit},
        }

    async def handle(self, request: Request, answer: Answer) -> None:
        methods = self._routes.get(request.path)
        if methods is None:
            raise Refusal(f"there is nothing at {request.path[:80]}", status=404, code="unknown_url")
        route = methods.get(request.method)
        if route is None:
            raise Refusal(f"{request.path} takes {', '.join(methods)}", status=405, code="method_not_allowed")
        await route(request, answer)

    async def _health(self, request: Request, answer: Answer) -> None:
        del request
        busy = {"painting": self._line.is_busy, "waiting": self._line.waiting}
        await answer.json(200, {"status": "ok", **busy})

    async def _metrics(self, request: Request, answer: Answer) -> None:
        """Prometheus' text format, in the words of this server."""
        del request
        count = self._line.counters
        totals = {
            "images_total": count.images,
            "steps_total": count.steps,
            **{
                f'requests_total{{outcome="{outcome}"}}': getattr(count, outcome)
                for outcome in ("done", "refused", "cancelled", "failed")
            },
            "requests_waiting": self._line.waiting,
            "requests_running": int(self._line.is_busy),
        }
        await answer.text("".join(f"image_server_{name} {value}\n" for name, value in totals.items()))

    async def _models(self, request: Request, answer: Answer) -> None:
        del request
        await answer.json(200, {"object": "list", "data": [{"id": self._model, "object": "model"}]})

    async def _generate(self, request: Request, answer: Answer) -> None:
        await self._serve(_GENERATION, self._parse(_json(request.body), None), answer)

    async def _edit(self, request: Request, answer: Answer) -> None:
        if not is_form(request.fields.get("content-type", "")):
            raise Refusal("an edit comes as multipart/form-data", status=415, code="unsupported_media_type")
        try:
            form = parse_form(request.body, request.fields["content-type"])
        except BadForm as error:
            raise Refusal(str(error), code="invalid_form") from error
        await self._serve(_EDIT, self._parse(from_form(form.texts), _source(form)), answer)

    def _parse(self, body: Mapping[str, Any], source: Source | None) -> Wish:
        wish = parse_wish(body, self._defaults, secrets.randbits(_SEED_BITS), source)
        self._painter.check(wish)
        return wish

    async def _serve(self, kind: _Kind, wish: Wish, answer: Answer) -> None:
        events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def report(event: Event) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(events.put_nowait, event)

        job = Job(wish, report)
        self._line.join(job)
        try:
            told = _until_end(events)
            await (self._stream(kind, wish, told, answer) if wish.stream else self._whole(wish, told, answer))
        finally:
            self._line.leave(job)

    async def _whole(self, wish: Wish, events: AsyncIterator[Event], answer: Answer) -> None:
        painted = [event async for event in events if isinstance(event, Painted)]
        images = [{"b64_json": _base64(event.content), "seed": event.seed} for event in painted]
        created = {"created": int(self._clock())}
        await answer.json(200, {**created, **self._common(wish), **_size(painted), "data": images})

    async def _stream(self, kind: _Kind, wish: Wish, events: AsyncIterator[Event], answer: Answer) -> None:
        await answer.begin_events()
        common = {"created_at": int(self._clock()), **self._common(wish), "quality": wish.quality}
        async for event in events:
            value: dict[str, Any]
            match event:
                case Step():
                    value = {"image_index": event.image, "step": event.number, "steps": event.steps}
                    await _tell(answer, f"{kind.name}.progress", value)
                case Preview():
                    value = {
                        **common,
                        "size": str(wish.size or "auto"),
                        "image_index": event.image,
                        "partial_image_index": event.number,
                        "b64_json": _base64(event.content),
                    }
                    await _tell(answer, f"{kind.name}.partial_image", value)
                case Painted():
                    value = {
                        **common,
                        **_size([event]),
                        "image_index": event.image,
                        "seed": event.seed,
                        "b64_json": _base64(event.content),
                        "usage": _NO_USAGE,
                    }
                    await _tell(answer, f"{kind.name}.completed", value)
                case Ended():
                    pass

    def _common(self, wish: Wish) -> dict[str, Any]:
        return {
            "model": self._model,
            "seed": wish.seed,
            "output_format": wish.output_format,
            "background": "opaque",
        }


async def _tell(answer: Answer, name: str, value: Mapping[str, Any]) -> None:
    await answer.event(name, {"type": name, **value})


async def _until_end(events: asyncio.Queue[Event]) -> AsyncIterator[Event]:
    """Raises the Refusal that the job ended with."""
    while not isinstance(event := await events.get(), Ended):
        yield event
    if event.refusal is not None:
        raise event.refusal


def _json(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise Refusal("the body is not JSON", code="invalid_json") from None
    if not isinstance(body, dict):
        raise Refusal("the body must be a JSON object", code="invalid_json")
    return body


def _source(form: Form) -> Source:
    files = dict(form.files)
    odd = next((name[:80] for name in files if name not in {"image", "mask"}), None)
    if odd is not None:
        raise Refusal(f"{odd} is not a file of this request", param=odd, code="unknown_parameter")
    if "image" not in files:
        raise Refusal("image is required", param="image")
    if len(form.files) != len(files):
        raise Refusal("one image, and at most one mask", param="image")
    return Source(image=files["image"], mask=files.get("mask"))


def _size(painted: list[Painted]) -> dict[str, str]:
    """Of all, which is the same."""
    return {"size": f"{painted[0].width}x{painted[0].height}"} if painted else {}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")

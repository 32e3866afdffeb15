"""What the routes answer with, as JSON Schema: whole answers, and the events or lines of streams.

Keys that are listed are there; an engine's own may come with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

JsonObject = dict[str, Any]

TEXT: Final[JsonObject] = {"type": "string"}
_WHOLE: Final[JsonObject] = {"type": "integer"}
_NUMBER: Final[JsonObject] = {"type": "number"}
_SWITCH: Final[JsonObject] = {"type": "boolean"}
_TEXT_OR_NULL: Final[JsonObject] = {"type": ["string", "null"]}
_ANY: Final[JsonObject] = {}


@dataclass(frozen=True, slots=True)
class Shape:
    """`body` of a whole answer; `event` of each object in a stream. Empty: this route has none."""

    body: JsonObject
    event: JsonObject | None = None


def _all(**properties: JsonObject) -> JsonObject:
    return {"type": "object", "required": list(properties), "properties": properties}


def _some(schema: JsonObject, **properties: JsonObject) -> JsonObject:
    """With keys that are not always there."""
    return {**schema, "properties": {**schema["properties"], **properties}}


def _list(items: JsonObject) -> JsonObject:
    return {"type": "array", "items": items}


def _one_of(*words: str) -> JsonObject:
    return {"enum": list(words)}


def _is(word: str) -> JsonObject:
    return {"const": word}


def _events(*types: str) -> JsonObject:
    return _all(type=_one_of(*types))


_USAGE: Final = _some(_all(prompt_tokens=_WHOLE, total_tokens=_WHOLE), completion_tokens=_WHOLE)
_CHOICE: Final = _some(_all(index=_WHOLE), finish_reason=_TEXT_OR_NULL)
_MESSAGE: Final = _some(_all(role=TEXT), content=_TEXT_OR_NULL, tool_calls={"type": ["array", "null"]})


def _generation(kind: str, choice: JsonObject) -> JsonObject:
    return _some(
        _all(id=TEXT, object=_is(kind), created=_WHOLE, model=TEXT, choices=_list(choice)),
        usage={"anyOf": [_USAGE, {"type": "null"}]},
    )


_IMAGE: Final = _all(b64_json=TEXT)
IMAGES: Final = Shape(
    _some(_all(created=_WHOLE, data=_list(_IMAGE)), usage={"type": ["object", "null"]}),
    _events(
        *(f"image_{did}.{what}" for did in ("generation", "edit") for what in ("partial_image", "completed"))
    ),
)
_MODEL: Final = _all(
    id=TEXT,
    object=_is("model"),
    created=_WHOLE,
    owned_by=TEXT,
    type=_is("model"),
    display_name=TEXT,
    created_at=TEXT,
    dmr={"type": "object"},
    mrpack=_all(
        digest=TEXT,
        names=_list(TEXT),
        format=TEXT,
        engine=_TEXT_OR_NULL,
        engines=_list(TEXT),
        capabilities=_list(TEXT),
        modalities=_all(input=_list(TEXT), output=_list(TEXT)),
        loaded=_list(TEXT),
    ),
)

_BLOCK: Final = _all(type=_one_of("text", "thinking", "tool_use"))
_CLAUDE: Final = Shape(
    _all(
        id=TEXT,
        type=_is("message"),
        role=_is("assistant"),
        model=TEXT,
        content=_list(_BLOCK),
        stop_reason=_one_of(
            *("end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"),
            "model_context_window_exceeded",
        ),
        stop_sequence=_TEXT_OR_NULL,
        usage=_all(
            input_tokens=_WHOLE,
            output_tokens=_WHOLE,
            cache_creation_input_tokens=_WHOLE,
            cache_read_input_tokens=_WHOLE,
        ),
    ),
    _events(
        *("message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop", "error"),
    ),
)

_ITEM: Final = _all(id=TEXT, type=_one_of("message", "reasoning", "function_call"))
_RESPONSE: Final = _all(
    id=TEXT,
    object=_is("response"),
    created_at=_WHOLE,
    status=_one_of("completed", "incomplete", "failed", "in_progress"),
    error={"type": ["object", "null"]},
    incomplete_details={"type": ["object", "null"]},
    model=TEXT,
    output=_list(_ITEM),
    usage={"type": ["object", "null"]},
    previous_response_id=_TEXT_OR_NULL,
)
_RESPONSE_EVENTS: Final = _some(
    _events(
        *(f"response.{what}" for what in ("created", "in_progress", "completed", "incomplete", "failed")),
        *(f"response.output_item.{what}" for what in ("added", "done")),
        *(f"response.content_part.{what}" for what in ("added", "done")),
        *(f"response.output_text.{what}" for what in ("delta", "done")),
        *(f"response.reasoning_text.{what}" for what in ("delta", "done")),
        *(f"response.function_call_arguments.{what}" for what in ("delta", "done")),
    ),
    sequence_number=_WHOLE,
)

_LOCAL: Final = _all(id=TEXT, tags=_list(TEXT), created=_WHOLE, config={"type": "object"})
_PROGRESS: Final = _all(
    type=_one_of("progress", "success", "error"),
    message=TEXT,
    total=_WHOLE,
    layer=_all(id=TEXT, size=_WHOLE, current=_WHOLE),
    mode=_one_of("pull", "push"),
)
_ENGINE: Final = _some(
    _all(
        backend_name=TEXT,
        model_name=TEXT,
        mode=TEXT,
        last_used=TEXT,
        in_use=_SWITCH,
        loading=_SWITCH,
        keep_alive=TEXT,
        requests=_WHOLE,
        phase=TEXT,
        digest=TEXT,
        pid={"type": ["integer", "null"]},
        load_time_s={"type": ["number", "null"]},
        memory=_all(host=_WHOLE, gpus=_list(_WHOLE)),
    ),
    expires_in_s=_NUMBER,
)

_RECORD: Final = _some(
    _all(id=TEXT, model=TEXT, method=TEXT, url=TEXT, request=TEXT, timestamp=_WHOLE, status_code=_WHOLE),
    **dict.fromkeys(("response", "error", "user_agent", "origin"), TEXT),
)
_ASKED: Final = _all(count=_WHOLE, model=TEXT, config={"type": "object"}, records=_list(_RECORD))

_DETAILS: Final = _all(
    format=TEXT, family=TEXT, families=_list(TEXT), parameter_size=TEXT, quantization_level=TEXT
)
_NAMED: Final = {"name": TEXT, "model": TEXT, "size": _WHOLE, "digest": TEXT, "details": _DETAILS}
_SAID: Final = _all(role=_is("assistant"), content=TEXT)
_STATISTICS: Final = {
    "done_reason": TEXT,
    **dict.fromkeys(("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration"), _WHOLE),
    **dict.fromkeys(("eval_count", "eval_duration"), _WHOLE),
}
# What went wrong in the middle of a stream is its last line.
_BROKEN: Final = _all(error=TEXT)
_STATUS: Final = _some(_all(status=TEXT), digest=TEXT, total=_WHOLE, completed=_WHOLE)
_NOTHING: Final[JsonObject] = {"type": "object"}


def _ollama(**said: JsonObject) -> Shape:
    line = _some(_all(model=TEXT, created_at=TEXT, done=_SWITCH, **said), **_STATISTICS)
    return Shape(line, {"anyOf": [line, _BROKEN]})


_MOVED: Final = Shape(_STATUS, {"anyOf": [_STATUS, _BROKEN]})

# By method and the last words of a path; the longest that fits counts.
SHAPES: Final[Mapping[str, Shape]] = {
    "POST /chat/completions": Shape(
        _generation("chat.completion", _some(_CHOICE, message=_MESSAGE)),
        _generation("chat.completion.chunk", _some(_CHOICE, delta={"type": "object"})),
    ),
    "POST /completions": Shape(
        _generation("text_completion", _some(_CHOICE, text=TEXT)),
        _generation("text_completion", _some(_CHOICE, text=TEXT)),
    ),
    "POST /embeddings": Shape(
        _all(
            object=_is("list"),
            model=TEXT,
            data=_list(_all(index=_WHOLE, embedding={"anyOf": [_list(_NUMBER), TEXT]})),
            usage=_USAGE,
        )
    ),
    "POST /images/generations": IMAGES,
    "POST /images/edits": IMAGES,
    "GET /v1/models": Shape(
        _all(
            object=_is("list"),
            data=_list(_MODEL),
            has_more=_SWITCH,
            first_id=_TEXT_OR_NULL,
            last_id=_TEXT_OR_NULL,
        )
    ),
    "GET /v1/models/{model}": Shape(_MODEL),
    "POST /responses": Shape(_RESPONSE, _RESPONSE_EVENTS),
    "GET /responses/{id}": Shape(_RESPONSE),
    "DELETE /responses/{id}": Shape(_all(id=TEXT, object=_is("response.deleted"), deleted={"const": True})),
    "GET /input_items": Shape(
        _all(
            object=_is("list"),
            data=_list(_some(_all(id=TEXT), type=TEXT)),
            first_id=TEXT,
            last_id=TEXT,
            has_more=_SWITCH,
        )
    ),
    "POST /messages": _CLAUDE,
    "POST /responses/input_tokens": Shape(_all(object=_is("response.input_tokens"), input_tokens=_WHOLE)),
    "POST /messages/count_tokens": Shape(_all(input_tokens=_WHOLE)),
    "POST /rerank": Shape(
        _all(
            object=_is("list"),
            model=TEXT,
            results=_list(_all(index=_WHOLE, relevance_score=_NUMBER)),
            usage=_USAGE,
        )
    ),
    "POST /score": Shape(
        _all(object=_is("list"), model=TEXT, data=_list(_all(index=_WHOLE, score=_NUMBER)), usage=_USAGE)
    ),
    "POST /tokenize": Shape(_all(model=TEXT, tokens=_list(_WHOLE), count=_WHOLE)),
    "POST /apply-template": Shape(_all(model=TEXT, prompt=TEXT)),
    "POST /detokenize": Shape(_all(model=TEXT, prompt=TEXT, content=TEXT)),
    "POST /api/chat": _ollama(message=_SAID),
    "POST /api/generate": _ollama(response=TEXT),
    "POST /api/embed": Shape(
        _all(model=TEXT, embeddings=_list(_list(_NUMBER)), total_duration=_WHOLE, prompt_eval_count=_WHOLE)
    ),
    "POST /api/embeddings": Shape(_all(embedding=_list(_NUMBER))),
    "POST /api/show": Shape(_all(details=_DETAILS, model_info={"type": "object"}, capabilities=_list(TEXT))),
    "GET /api/version": Shape(_all(version=TEXT)),
    "GET /api/status": Shape(_all(cloud=_all(disabled=_SWITCH, source=TEXT))),
    "GET /api/tags": Shape(_all(models=_list(_all(**_NAMED, modified_at=TEXT)))),
    "GET /api/ps": Shape(_all(models=_list(_all(**_NAMED, expires_at=TEXT, size_vram=_WHOLE)))),
    "POST /api/pull": _MOVED,
    "POST /api/push": _MOVED,
    "POST /api/copy": Shape(_NOTHING),
    "DELETE /api/delete": Shape(_NOTHING),
    "GET /models": Shape(_list(_LOCAL)),
    "GET /models/{model}": Shape(_LOCAL),
    "GET /models/{model}/json": Shape(_LOCAL),
    "POST /models/create": Shape(_ANY, _PROGRESS),
    "POST /models/load": Shape(_ANY, _PROGRESS),
    "POST /push": Shape(_ANY, _PROGRESS),
    "POST /tag": Shape(_all(message=TEXT, target=TEXT)),
    "POST /models/prune": Shape(_all(freed=_WHOLE)),
    "DELETE /models/purge": Shape(_NOTHING),
    "DELETE /models/{model}": Shape(_list({"anyOf": [_all(Untagged=TEXT), _all(Deleted=TEXT)]})),
    "GET /health": Shape(_all(status=_is("ok"))),
    "GET /ready": Shape(_all(status=_is("ready"))),
    "GET /version": Shape(_all(version=TEXT)),
    "GET /openapi.json": Shape(_all(openapi=TEXT, info={"type": "object"}, paths={"type": "object"})),
    "GET /engines/status": Shape({"type": "object", "additionalProperties": TEXT}),
    "GET /engines/ps": Shape(_list(_ENGINE)),
    "GET /engines/df": Shape(_all(models_disk_usage=_WHOLE, default_backend_disk_usage=_WHOLE)),
    "POST /engines/unload": Shape(_all(unloaded_runners=_WHOLE, busy=_list(TEXT))),
    "GET /engines/requests": Shape(_list(_ASKED), {"anyOf": [_list(_ASKED), _all(status=_is("connected"))]}),
    "GET /engines/_configure": Shape(
        _list(_all(Backend=TEXT, Model=TEXT, ModelID=TEXT, Mode=TEXT, Config={"type": "object"}))
    ),
}

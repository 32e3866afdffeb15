"""What each route takes and gives, beyond its row in the route table: for the description of the API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mrpack.model.overrides.kinds import INT32_MAX
from mrpack_runtime.gateway.heads import JSON_TYPE
from mrpack_runtime.gateway.queries import FLAGS
from mrpack_runtime.protocols import CHAT
from mrpack_runtime.protocols.keeping import SCHEMA as KEEP_ALIVE
from mrpack_runtime.protocols.openai import BETWEEN_FIELDS, COMPLETION, EMBEDDING, FIELDS, IMAGES, REQUIRED

JsonObject = dict[str, Any]
EVENTS: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"
_FORM: Final = "multipart/form-data"
_TAR: Final = "application/x-tar"
_PLAIN: Final = "text/plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """`body` and the values of `query` are JSON Schema; `answers` are content types of what went well.

    `status` of what went well; empty for a route that only refuses.
    """

    body: JsonObject | None = None
    takes: str = JSON_TYPE
    query: Mapping[str, JsonObject] = field(default_factory=dict)
    status: str = "200"
    answers: tuple[str, ...] = (JSON_TYPE,)


def _object(required: str = "", /, **properties: JsonObject) -> JsonObject:
    """Names of `required` are separated by spaces; other fields than these may be there, too."""
    return {"type": "object", "properties": properties, "required": required.split()}


def _or_null(schema: JsonObject) -> JsonObject:
    return {"anyOf": [schema, {"type": "null"}]}


def _asked(required: str, /, **properties: JsonObject) -> JsonObject:
    """A request to a model."""
    return _object(required, model=MODEL, keep_alive=KEEP_ALIVE, **properties)


def _openai(path: str) -> JsonObject:
    """As protocols/openai.py checks it."""
    needed = REQUIRED[path][0]
    fields = {
        name: field.schema if name == needed else _or_null(field.schema)
        for name, field in FIELDS[path].items()
    }
    return {**_asked(f"model {needed}", **fields), **BETWEEN_FIELDS.get(path, {})}


MODEL: Final[JsonObject] = {
    "type": "string",
    "pattern": r"\S",
    "description": "any name that commands take, such as smollm2",
}
_TEXT: Final[JsonObject] = {"type": "string"}
_SWITCH: Final[JsonObject] = {"type": "boolean"}
_TEXTS: Final[JsonObject] = {"anyOf": [_TEXT, {"type": "array", "minItems": 1, "items": _TEXT}]}
_TOKENS: Final[JsonObject] = {"type": "integer", "minimum": 1, "maximum": INT32_MAX}


def _messages(*roles: str) -> JsonObject:
    message = _object("role content", role={"enum": list(roles)}, content=_TEXT)
    return {"type": "array", "minItems": 1, "items": message}


_TALK: Final[JsonObject] = {
    "type": "array",
    "items": _object("role", role=_TEXT, content=_or_null(_TEXT)),
}
_CLAUDE: Final = _messages("user", "assistant")
_TURNS: Final[JsonObject] = {
    "anyOf": [_TEXT, _messages("user", "assistant", "system", "developer")],
}
_FLAG: Final[JsonObject] = {"enum": list(FLAGS)}
_REFUSED: Final = Description(status="")
_STREAMED: Final = (JSON_TYPE, EVENTS)
_INSTALLED: Final = Description(
    body=_object("backend", backend={"type": "string", "pattern": r"\S"}), status=""
)
_LINED: Final = (JSON_TYPE, LINES)
_TAG: Final[JsonObject] = {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"}

# By method and the last words of a path; the longest that fits counts.
_DESCRIPTIONS: Final[Mapping[str, Description]] = {
    "POST /chat/completions": Description(body=_openai(CHAT), answers=_STREAMED),
    "POST /completions": Description(body=_openai(COMPLETION), answers=_STREAMED),
    "POST /embeddings": Description(body=_openai(EMBEDDING)),
    "POST /images/generations": Description(body=_openai(IMAGES), answers=_STREAMED),
    "POST /images/edits": Description(
        body=_asked("model", prompt=_TEXT, image={"type": "string", "format": "binary"}),
        takes=_FORM,
        answers=_STREAMED,
    ),
    "POST /responses": Description(
        body=_asked(
            "model input",
            input=_TURNS,
            stream=_or_null(_SWITCH),
            max_output_tokens=_or_null(_TOKENS),
        ),
        answers=_STREAMED,
    ),
    "GET /input_items": Description(
        query={
            "order": {"enum": ["asc", "desc"]},
            "limit": {"type": "integer", "minimum": 1, "maximum": 100},
            "after": _TEXT,
        }
    ),
    "POST /responses/input_tokens": Description(body=_asked("model input", input=_TURNS)),
    "POST /responses/{id}/cancel": _REFUSED,
    "POST /responses/compact": _REFUSED,
    "POST /messages": Description(
        body=_asked(
            "model messages max_tokens",
            messages=_CLAUDE,
            max_tokens=_TOKENS,
            stream=_or_null(_SWITCH),
        ),
        answers=_STREAMED,
    ),
    "POST /messages/count_tokens": Description(body=_asked("model messages", messages=_CLAUDE)),
    "POST /rerank": Description(
        body=_asked(
            "model query documents",
            query=_TEXT,
            documents={"type": "array", "minItems": 1, "items": _TEXT},
            top_n=_or_null(_TOKENS),
        )
    ),
    "POST /score": Description(
        body=_asked(
            "model text_1 text_2",
            text_1=_TEXT,
            text_2={"anyOf": [_TEXT, {"type": "array", "minItems": 1, "items": _TEXT}]},
        )
    ),
    "POST /tokenize": Description(body=_asked("model prompt", prompt=_TEXT)),
    "POST /detokenize": Description(
        body=_asked(
            "model tokens",
            tokens={"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": INT32_MAX}},
        )
    ),
    "POST /apply-template": Description(
        body=_asked("model messages", messages=FIELDS[CHAT]["messages"].schema)
    ),
    "POST /api/chat": Description(
        body=_asked("model", messages=_or_null(_TALK), stream=_or_null(_SWITCH)),
        answers=_LINED,
    ),
    "POST /api/generate": Description(
        body=_asked("model", prompt=_or_null(_TEXT), stream=_or_null(_SWITCH)), answers=_LINED
    ),
    "POST /api/embed": Description(body=_asked("model input", input=_TEXTS)),
    "POST /api/embeddings": Description(body=_asked("model prompt", prompt=_TEXT)),
    "POST /api/show": Description(body=_object("model", model=MODEL)),
    "POST /api/pull": Description(body=_object("model", model=MODEL), answers=_LINED),
    "POST /api/push": Description(body=_object("model", model=MODEL), answers=_LINED),
    "POST /api/copy": Description(body=_object("source destination", source=MODEL, destination=MODEL)),
    "DELETE /api/delete": Description(body=_object("model", model=MODEL)),
    "POST /api/create": _REFUSED,
    "POST /api/blobs/{id}": _REFUSED,
    "POST /models/create": Description(body=_object("from", **{"from": MODEL})),
    "POST /models/load": Description(body={"type": "string", "format": "binary"}, takes=_TAR),
    "GET /models/{model}": Description(query={"remote": _FLAG}),
    "GET /v1/models/{model}": Description(),
    "GET /export": Description(answers=(_TAR,)),
    "POST /tag": Description(
        query={"repo": {"type": "string", "pattern": "^[a-z0-9]+(/[a-z0-9]+)*$"}, "tag": _TAG}, status="201"
    ),
    "DELETE /models/{model}": Description(query={"force": _FLAG}),
    "POST /repackage": _REFUSED,
    "GET /engines/ps": Description(query={"wide": _FLAG}),
    "POST /engines/unload": Description(
        body=_object(
            all=_SWITCH, models=_or_null({"type": "array", "items": MODEL}), backend=_TEXT, force=_SWITCH
        )
        | {
            "anyOf": [
                {"required": ["all"], "properties": {"all": {"const": True}}},
                {"required": ["models"], "properties": {"models": {"type": "array", "minItems": 1}}},
            ]
        }
    ),
    "GET /engines/_configure": Description(query={"model": MODEL}),
    "POST /_configure": Description(
        body=_object(
            "model",
            model=MODEL,
            preload=_SWITCH,
            **{"context-size": _or_null({"type": "integer", "minimum": -1, "maximum": INT32_MAX})},
        ),
        status="202",
        answers=(),
    ),
    "GET /engines/requests": Description(
        query={"model": MODEL, "include_existing": _FLAG}, answers=_STREAMED
    ),
    "POST /engines/install-backend": _INSTALLED,
    "POST /engines/uninstall-backend": _INSTALLED,
    "GET /logs": Description(query={"follow": _FLAG, "no-engines": _FLAG}, answers=(_PLAIN,)),
    "GET /metrics": Description(answers=(_PLAIN,)),
}
_NEEDED_QUERY: Final = frozenset({"repo", "tag"})
_ALONE: Final = {"/": Description(answers=(_PLAIN,))}
_SIMPLE: Final = Description()


def description_of(method: str, path: str) -> Description:
    """Of the route with this whole path."""
    if path in _ALONE:
        return _ALONE[path]
    return _DESCRIPTIONS.get(closest(_DESCRIPTIONS, method, path), _SIMPLE)


def closest(keys: Iterable[str], method: str, path: str) -> str:
    """Of keys that are a method and the last words of a path: the longest that fits, or none."""
    fitting = (key for key in keys if key.startswith(f"{method} ") and path.endswith(key.partition(" ")[2]))
    return max(fitting, key=len, default="")


def is_needed(parameter: str) -> bool:
    """Of a query."""
    return parameter in _NEEDED_QUERY

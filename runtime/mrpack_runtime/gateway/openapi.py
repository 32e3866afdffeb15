"""The route table as an OpenAPI 3.1 document: paths, parameters, and what each answers with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from mrpack_runtime.gateway.guard import Scope

if TYPE_CHECKING:
    from mrpack_runtime.gateway.routes import Route

JsonObject = dict[str, Any]

_MODEL: Final[JsonObject] = {
    "type": "string",
    "minLength": 1,
    "description": "any name that commands take, such as smollm2",
}
_TEXT: Final[JsonObject] = {"type": "string"}
_LIST: Final[JsonObject] = {"type": "array", "items": {"type": "object"}}
_TEXTS: Final[JsonObject] = {"type": ["string", "array"], "items": {"type": "string"}}
# The fields that a request needs, and a few more, by the last words of the path. Others go to the engine.
_BODIES: Final[dict[str, tuple[JsonObject, tuple[str, ...]]]] = {
    "/chat/completions": (
        {"model": _MODEL, "messages": _LIST, "stream": {"type": "boolean"}},
        ("model", "messages"),
    ),
    "/completions": ({"model": _MODEL, "prompt": {}, "stream": {"type": "boolean"}}, ("model", "prompt")),
    "/embeddings": ({"model": _MODEL, "input": {}}, ("model", "input")),
    "/responses": ({"model": _MODEL, "input": {"type": ["string", "array"]}}, ("model", "input")),
    "/messages": (
        {"model": _MODEL, "messages": _LIST, "max_tokens": {"type": "integer", "minimum": 1}},
        ("model", "messages", "max_tokens"),
    ),
    "/messages/count_tokens": ({"model": _MODEL, "messages": _LIST}, ("model", "messages")),
    "/rerank": (
        {"model": _MODEL, "query": _TEXT, "documents": {"type": "array"}},
        ("model", "query", "documents"),
    ),
    "/score": ({"model": _MODEL, "text_1": _TEXTS, "text_2": _TEXTS}, ("model", "text_1", "text_2")),
    "/tokenize": ({"model": _MODEL, "prompt": _TEXT, "messages": _LIST}, ("model",)),
    "/detokenize": (
        {"model": _MODEL, "tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}}},
        ("model", "tokens"),
    ),
    "/images/generations": ({"model": _MODEL, "prompt": _TEXT}, ("model", "prompt")),
    "/images/edits": ({"model": _MODEL, "prompt": _TEXT, "image": _TEXT}, ("model", "prompt", "image")),
    "/api/chat": ({"model": _MODEL, "messages": _LIST}, ("model",)),
    "/api/generate": ({"model": _MODEL, "prompt": _TEXT}, ("model",)),
    "/api/embed": ({"model": _MODEL, "input": _TEXTS}, ("model", "input")),
    "/api/embeddings": ({"model": _MODEL, "prompt": _TEXT}, ("model", "prompt")),
    "/api/show": ({"model": _MODEL}, ("model",)),
    "/api/pull": ({"model": _MODEL}, ("model",)),
    "/api/push": ({"model": _MODEL}, ("model",)),
    "/api/delete": ({"model": _MODEL}, ("model",)),
    "/api/copy": ({"source": _MODEL, "destination": _MODEL}, ("source", "destination")),
    "/models/create": ({"from": _MODEL}, ("from",)),
    "/engines/unload": ({"all": {"type": "boolean"}, "models": {"type": "array"}}, ()),
    "/engines/_configure": ({"model": _MODEL, "context-size": {"type": "integer"}}, ("model",)),
    "/engines/install-backend": ({"backend": _TEXT}, ("backend",)),
    "/engines/uninstall-backend": ({"backend": _TEXT}, ("backend",)),
}
_FORMS: Final = ("/images/edits",)
_ERROR: Final = {
    "description": "what went wrong; docs/serving.md lists the codes",
    "content": {"application/json": {"schema": {"type": "object"}}},
}


def describe(version: str, routes: Iterable[tuple[str, Route]]) -> JsonObject:
    """The whole document; `routes` with their whole paths."""
    paths: dict[str, JsonObject] = {}
    for path, route in routes:
        paths.setdefault(path, {})[route.method.lower()] = _operation(path, route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "mrpack", "version": version, "summary": "AI models served from OCI artifacts"},
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "paths": dict(sorted(paths.items())),
    }


def _operation(path: str, route: Route) -> JsonObject:
    words = (route.handler.__doc__ or "").partition("\n")[0]
    operation: JsonObject = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{path}").strip("_"),
        "summary": words,
        "tags": [str(route.scope)],
        "security": [] if route.scope is Scope.OPEN else [{}, {"key": []}],
        "responses": {
            "200": {"description": "the answer, or its stream"},
            "default": _ERROR,
        },
    }
    if names := re.findall(r"\{(\w+)\}", path):
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ]
    if body := _body(path):
        operation["requestBody"] = {"required": True, "content": {_kind(path): {"schema": body}}}
    return operation


def _kind(path: str) -> str:
    """Images come in forms."""
    return "multipart/form-data" if path.endswith(_FORMS) else "application/json"


def _body(path: str) -> JsonObject | None:
    """Of the longest end of `path` that the table knows."""
    ends = [
        end for end in _BODIES if path.endswith(end) and (end.count("/") > 1 or not path.startswith("/api"))
    ]
    if not ends:
        return None
    fields, required = _BODIES[max(ends, key=len)]
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": True}

"""The route table as an OpenAPI 3.1 document: paths, parameters, bodies, and what each answers with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from mrpack_runtime.gateway.answers import SHAPES, TEXT, Shape
from mrpack_runtime.gateway.descriptions import (
    EVENTS,
    LINES,
    Description,
    closest,
    description_of,
    is_needed,
)
from mrpack_runtime.gateway.errors import openai_shape
from mrpack_runtime.gateway.guard import Scope
from mrpack_runtime.gateway.heads import JSON_TYPE
from mrpack_runtime.protocols.anthropic.answer import anthropic_error
from mrpack_runtime.protocols.ollama.answer import ollama_error

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Route
    from mrpack_runtime.gateway.errors import ErrorShape

JsonObject = dict[str, Any]

_MAYBE: Final[JsonObject] = {"type": ["string", "null"]}
# By the function that makes them.
_ERRORS: Final[dict[ErrorShape, tuple[str, JsonObject]]] = {
    openai_shape: (
        "Error",
        {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["message", "type", "param", "code"],
                    "properties": {"message": TEXT, "type": TEXT, "param": _MAYBE, "code": TEXT},
                }
            },
        },
    ),
    anthropic_error: (
        "AnthropicError",
        {
            "type": "object",
            "required": ["type", "error"],
            "properties": {
                "type": {"const": "error"},
                "error": {
                    "type": "object",
                    "required": ["type", "message"],
                    "properties": {"type": TEXT, "message": TEXT},
                },
            },
        },
    ),
    ollama_error: (
        "OllamaError",
        {"type": "object", "required": ["error"], "properties": {"error": TEXT}},
    ),
}
# Models, engines and responses have no others.
_NAME: Final[JsonObject] = {"type": "string", "pattern": "^[!-~]+$"}
_NO_SHAPE: Final = Shape({})
_EVERYWHERE: Final[dict[str, str]] = {
    "400": "the request is wrong: the message says what",
    "403": "a foreign Host or Origin, or a route for this machine alone",
}
_WITH_KEY: Final[dict[str, str]] = {"401": "a key is needed"}
_WITH_BODY: Final[dict[str, str]] = {
    "408": "the body did not arrive in time",
    "413": "the body is too large",
    "415": "the body is not of the kind that is taken, or compressed",
}
_WITH_NAME: Final[dict[str, str]] = {"404": "there is no such model, engine or response"}
_WITH_ENGINE: Final[dict[str, str]] = {
    "409": "the engine in the path does not open models of this kind",
    "422": "the model's files or settings are malformed",
    "501": "no engine here can do that",
    "502": "the engine did not start, or failed",
    "503": "too many wait, or the engine fails again and again: see Retry-After",
    "507": "the model never fits into the memory",
}
_WITH_SHELF: Final[dict[str, str]] = {
    "409": "the model is in use",
    "501": "this gateway does not do that",
    "502": "a registry failed, or content is damaged",
    "507": "the disk is full, or cannot be written",
}


def describe(version: str, routes: Iterable[tuple[str, Route]]) -> JsonObject:
    """The whole document; `routes` with their whole paths."""
    paths: dict[str, JsonObject] = {}
    for path, route in routes:
        paths.setdefault(path, {})[route.method.lower()] = _operation(path, route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "mrpack", "version": version, "summary": "AI models served from OCI artifacts"},
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": dict(_ERRORS.values()) | dict(_shapes()),
        },
        "paths": dict(sorted(paths.items())),
    }


def _operation(path: str, route: Route) -> JsonObject:
    words = (route.handler.__doc__ or "").partition("\n")[0]
    says = description_of(route.method, path)
    operation: JsonObject = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{path}").strip("_"),
        "summary": words,
        "tags": [str(route.scope)],
        "security": [] if route.scope is Scope.OPEN else [{}, {"key": []}],
        "responses": _responses(path, route, says),
    }
    if parameters := [
        *(_parameter(name, "path", _NAME) for name in re.findall(r"\{(\w+)\}", path)),
        *(_parameter(name, "query", schema) for name, schema in says.query.items()),
    ]:
        operation["parameters"] = parameters
    if says.body is not None:
        operation["requestBody"] = {"required": True, "content": {says.takes: {"schema": says.body}}}
    return operation


def _parameter(name: str, place: str, schema: JsonObject) -> JsonObject:
    needed = place == "path" or is_needed(name)
    return {"name": name, "in": place, "required": needed, "schema": schema}


def _responses(path: str, route: Route, says: Description) -> JsonObject:
    name, _ = _ERRORS[route.errors]
    shape: JsonObject = {"content": {JSON_TYPE: {"schema": _reference(name)}}}
    wrong = {status: shape | {"description": why} for status, why in _errors(path, route, says).items()}
    wrong["default"] = shape | {"description": "what went wrong; docs/serving.md lists the codes"}
    if not says.status:
        return wrong | {"501": shape | {"description": "it is not done here"}}
    right: JsonObject = {
        "description": "the answer, or its stream" if len(says.answers) > 1 else "the answer"
    }
    if says.answers:
        key = closest(SHAPES, route.method, path)
        right["content"] = {kind: _content(kind, key) for kind in says.answers}
    return {says.status: right, **wrong}


def _errors(path: str, route: Route, says: Description) -> dict[str, str]:
    """Why each status: what the route takes and works with decides."""
    runs = route.operation is not None or path.endswith(("tokenize", "/apply-template"))
    changes = route.scope is Scope.MANAGEMENT and not path.startswith("/engines/")
    return {
        **_EVERYWHERE,
        **({} if route.scope is Scope.OPEN else _WITH_KEY),
        **(_WITH_BODY if says.body is not None else {}),
        **(_WITH_NAME if "{" in path or says.body is not None else {}),
        **(_WITH_ENGINE if runs else {}),
        **(_WITH_SHELF if changes else {}),
    }


def _content(kind: str, key: str) -> JsonObject:
    """OpenAPI 3.1 has no word for the parts of a stream: `x-item-schema` is that of each event or line."""
    shape = SHAPES.get(key, _NO_SHAPE)
    found: JsonObject = {}
    if kind == JSON_TYPE and shape.body:
        found["schema"] = _reference(_component(key))
    elif kind in {EVENTS, LINES, JSON_TYPE} and shape.event is not None:
        found["x-item-schema"] = _reference(f"{_component(key)}_event")
    return found


def _shapes() -> Iterator[tuple[str, JsonObject]]:
    for key, shape in SHAPES.items():
        if shape.body:
            yield _component(key), shape.body
        if shape.event is not None:
            yield f"{_component(key)}_event", shape.event


def _component(key: str) -> str:
    return re.sub(r"\W+", "_", key.lower()).strip("_")


def _reference(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}
